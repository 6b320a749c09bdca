"""Taps: catch the inputs and outputs of named modules during a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from suite.contract import BlockedError
from suite.errors import did_you_mean

Feature = Any
"""A tensor, or a list of such: levels of a pyramid, calls of a shared head, outputs of one module."""

Depth = Literal["neck", "heads"]
"""How far a model is run: backbone and neck alone, or its heads too."""


def _pooled_tokens(tokens: Tensor) -> Tensor:
    return tokens.mean(dim=1)


def _class_token(tokens: Tensor) -> Tensor:
    return tokens[:, 0]


def _patch_tokens(tokens: Tensor) -> Tensor:
    """The largest square number of tokens from the end: class and distillation tokens come first."""
    side = int(tokens.shape[1] ** 0.5)
    return tokens[:, -side * side :]


def _pooled(feature_map: Tensor) -> Tensor:
    return feature_map.mean(dim=(2, 3))


POOLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda feature: feature,
    "pooled": _pooled,
    "pooled_tokens": _pooled_tokens,
    "class_token": _class_token,
    "patch_tokens": _patch_tokens,
}
"""Pooling of a tap -> what it makes of a caught tensor, `N x C x H x W` or `N x L x C`, for the loss."""


def find_module(model: nn.Module, path: str, what: str = "tap") -> nn.Module:
    """The module at a dotted path; a number is an index, from the end when negative.

    Args:
        model: where the path starts.
        path: names of children, joined by dots.
        what: what is looked for; the error message begins with it.

    Raises:
        BlockedError: the path names no module; says how far it leads.
    """
    module = model
    walked = type(model).__name__
    for part in path.split("."):
        children = dict(module.named_children())
        if part.lstrip("-").isdigit() and isinstance(module, nn.ModuleList | nn.Sequential):
            index = int(part)
            found = module[index] if -len(module) <= index < len(module) else None
        else:
            found = children.get(part)
        if found is None:
            there = ", ".join(children) or "no modules"
            raise BlockedError(f"{what} {path!r}: {walked} has no {part!r}, only {there}")
        module = found
        walked = f"{walked}.{part}"
    return module


def find_parameter(model: nn.Module, path: str) -> nn.Parameter:
    """The parameter at a dotted path, whose modules are named as for `find_module`.

    Raises:
        BlockedError: the path names no parameter; says which its module has.
    """
    parent, _, name = path.rpartition(".")
    module = find_module(model, parent, what="parameter") if parent else model
    parameters = dict(module.named_parameters(recurse=False))
    if name not in parameters:
        there = ", ".join(parameters) or "no parameters"
        raise BlockedError(
            f"parameter {path!r}: {type(model).__name__}{'.' if parent else ''}{parent} has no {name!r}, "
            f"only {there}"
        )
    return parameters[name]


@dataclass
class _Place:
    """One module of a tap.

    Attributes:
        path: of the module in its model.
        caught: one value per call, in order, since the last `take`.
        watched: the caught tensors, each with its version counter at that time.
        edges: their edges in the autograd graph, in a traced pass.
        copies: whether a copy is kept, because a later layer overwrites the tensor in place. True until the
            first pass has shown that none does.
        calls: how often the module ran in the first pass; None before it.
    """

    path: str
    caught: list[Feature] = field(default_factory=list)
    watched: list[tuple[Tensor, int]] = field(default_factory=list)
    edges: list[GradientEdge] = field(default_factory=list)
    copies: bool = True
    calls: int | None = None

    def clear(self) -> None:
        self.caught.clear()
        self.watched.clear()
        self.edges.clear()

    @property
    def overwritten(self) -> bool:
        return any(tensor._version != version for tensor, version in self.watched)


class Taps:
    """Catches the inputs or outputs of named modules, in the forward passes that it is told to listen to.

    A module that runs several times in one pass (the shared head of a one-stage detector runs once per level)
    gives a list with one entry per call, in order, or the last call only if its tap says so (the ReLU that a
    residual block runs after each of its convolutions). An output that is a tuple or a list gives a list of
    its tensors, or a single tensor if it holds only one. Most ReLUs of the zoos overwrite their input in
    place: a tap before one keeps a copy of the original values.

    Attributes:
        paths: tap -> the modules that it listens to.
        fired: tap -> how often these ran in the pass that was taken last.
    """

    def __init__(self, model: nn.Module, taps: Mapping[str, Any], wanted: Sequence[str]) -> None:
        """Hooks the modules of the taps that are wanted.

        Args:
            model: the model to listen to; its weights and modules are not changed.
            taps: tap name -> `{module: path or list of paths, side: output or input, pooling: name, calls:
                all or last}`; all but the first are optional. The input of a module is its first positional
                argument.
            wanted: taps to listen to: names of `taps`, or `output:<path>` and `input:<path>` for modules that
                no tap names.

        Raises:
            BlockedError: a wanted tap is not declared for the model, names no module, or has an unknown key,
                side, pooling or choice of calls.
        """
        self._model = type(model).__name__
        self._places: dict[str, list[_Place]] = {}
        self._lists: set[str] = set()
        self._listening = self._tracing = False
        self.paths: dict[str, str | list[str]] = {}
        self.fired: dict[str, int] = {}
        for name in wanted:
            kind, colon, path = name.partition(":")
            self._add(model, name, {"module": path, "side": kind} if colon else self._declared(name, taps))

    def _declared(self, name: str, taps: Mapping[str, Any]) -> Mapping[str, Any]:
        if name not in taps:
            raise BlockedError(
                f"tap {name!r} is not declared for {self._model}, only {', '.join(taps) or 'none'}; declare "
                "it in suite/conf/model, or name a module as output:PATH"
            )
        tap: Mapping[str, Any] = taps[name]
        offered = {
            "module": None,
            "side": ("output", "input"),
            "pooling": tuple(POOLINGS),
            "calls": ("all", "last"),
        }
        for key, value in tap.items():
            if key not in offered:
                raise BlockedError(f"tap {name!r}: no key {key!r}: {did_you_mean(key, offered)}")
            if (known := offered[key]) and value not in known:
                raise BlockedError(f"tap {name!r}: no {key} {value!r}: {did_you_mean(str(value), known)}")
        return tap

    def _add(self, model: nn.Module, name: str, tap: Mapping[str, Any]) -> None:
        paths = tap["module"]
        self.paths[name] = paths
        if not isinstance(paths, str):
            self._lists.add(name)
        pooling, calls = tap.get("pooling", "none"), tap.get("calls", "all")
        self._places[name] = [_Place(path) for path in ([paths] if isinstance(paths, str) else paths)]
        for place in self._places[name]:
            module = find_module(model, place.path)
            catch = self._catcher(name, place, pooling, only_last=calls == "last")
            if tap.get("side", "output") == "input":
                module.register_forward_pre_hook(lambda _, inputs, catch=catch: catch(inputs[:1]))
            else:
                module.register_forward_hook(lambda _, __, output, catch=catch: catch(output))

    def _catcher(self, name: str, place: _Place, pooling: str, only_last: bool) -> Callable[[Any], None]:
        pool = POOLINGS[pooling]

        def keep(tensor: Tensor) -> Tensor:
            place.watched.append((tensor, tensor._version))
            if self._tracing and tensor.requires_grad:
                # The tensor itself will not do: a later layer may overwrite it, and pooling makes another.
                place.edges.append(get_gradient_edge(tensor))
            return pool(tensor.clone() if place.copies else tensor)

        def catch(value: Any) -> None:
            if not self._listening:
                return
            if only_last:
                place.clear()
            found = _tensors(value, keep)
            if found is None:
                raise BlockedError(
                    f"tap {name!r}: module {place.path!r} of {self._model} has no tensor there but "
                    f"{type(value).__name__}; tap a module with a tensor, or with a list of tensors"
                )
            place.caught.append(found)

        return catch

    @contextmanager
    def listening(self, tracing: bool = False) -> Iterator[None]:
        """Catches what goes through the modules inside this context only.

        Outside, a loss may run modules of the model itself, and a backward pass may run some again.

        Args:
            tracing: whether to keep, until `take`, the edges in the autograd graph of what is caught.
        """
        for places in self._places.values():
            for place in places:
                place.clear()
        self._listening, self._tracing = True, tracing
        try:
            yield
        finally:
            self._listening = self._tracing = False

    @property
    def edges(self) -> dict[str, list[GradientEdge]]:
        """Before `take`: tap -> the edges in the autograd graph of what it caught in a traced pass."""
        return {
            name: edges
            for name, places in self._places.items()
            if (edges := [edge for place in places for edge in place.edges])
        }

    @property
    def depth(self) -> Depth:
        """How far the model has to be run for every tap to fire."""
        places = [place for tap in self._places.values() for place in tap]
        behind = [place for place in places if place.path.partition(".")[0] not in ("backbone", "neck")]
        return "heads" if behind else "neck"

    def take(self) -> dict[str, Feature]:
        """Returns what was caught in the last pass, by tap, and forgets it.

        Raises:
            BlockedError: a tap did not fire, fired another number of times than in the first pass, fired
                several times although it has several modules, or caught a tensor that was overwritten in
                place, unlike in the first pass.
        """
        self.fired = {
            name: sum(len(place.caught) for place in places) for name, places in self._places.items()
        }
        return {name: self._take(name, places) for name, places in self._places.items()}

    def _take(self, name: str, places: list[_Place]) -> Feature:
        values = []
        for place in places:
            where = f"tap {name!r}: module {place.path!r} of {self._model}"
            self._check(where, place, len(places))
            if place.calls is None:
                place.calls = len(place.caught)
                place.copies = place.overwritten
            values += place.caught
            place.clear()
        return values if name in self._lists or len(values) > 1 else values[0]

    def _check(self, where: str, place: _Place, modules: int) -> None:
        """Refuses what a place caught if it is not what the loss was built for."""
        fired = len(place.caught)
        if not fired:
            raise BlockedError(
                f"{where} never ran, so the tap never fired; tap a module that runs in a forward pass "
                "through backbone, neck and dense heads"
            )
        if fired > 1 and modules > 1:
            raise BlockedError(
                f"{where} ran {fired} times in one pass; a tap of several modules needs modules that run once"
            )
        if place.calls not in (None, fired):
            raise BlockedError(
                f"{where} ran {fired} times in this pass and {place.calls} times in the first; a tap needs "
                "modules that run equally often in every pass"
            )
        if place.calls is not None and place.overwritten and not place.copies:
            raise BlockedError(
                f"{where} was overwritten in place by a later layer, but not in the first pass; tap the "
                "output of that layer"
            )


def _tensors(value: Any, keep: Callable[[Tensor], Tensor]) -> Feature | None:
    """The tensors of an output in their nesting, a list of one as that tensor; None if there are none.

    Everything else is dropped: a stage may return the size of its feature beside the feature.
    """
    if isinstance(value, Tensor):
        return keep(value)
    if not isinstance(value, list | tuple):
        return None
    found = [kept for kept in (_tensors(item, keep) for item in value) if kept is not None]
    if not found:
        return None
    return found[0] if len(found) == 1 else found


def tensors_of(feature: Feature) -> list[Tensor]:
    """The tensors of a feature in order, whatever they are nested in."""
    if isinstance(feature, Tensor):
        return [feature]
    return [tensor for part in feature for tensor in tensors_of(part)]
