"""YAML that people edit by hand: read strictly, and refused with file and line."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args

import yaml
from pydantic import BaseModel, RootModel, ValidationError
from pydantic_core import ErrorDetails

from suite.errors import SuiteError, did_you_mean
from suite.paths import ROOT

try:
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # PyYAML without libyaml reads the same, only slower
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

Location = tuple[str | int, ...]
"""Keys and indices from the top of a file down to a value, as pydantic reports them."""

Model = TypeVar("Model", bound=BaseModel)


class Number(float):
    """A number that remembers how it was written: ``69.90`` is 69.9 with two decimals.

    Attributes:
        text: the number as it stands in the file.
    """

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Number:
        """Reads the number from its text."""
        number = super().__new__(cls, text)
        number.text = text
        return number


class _Loader(_SafeLoader):
    """YAML 1.1 without its traps: a key may stand once, and ``5e-4`` is a number, not a word."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> Iterator[dict[Any, Any]]:
    seen: set[str] = set()
    for key, _ in node.value:
        name = str(key.value)
        if name in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {name!r} stands here twice", key.start_mark
            )
        seen.add(name)
    yield from loader.construct_yaml_map(node)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:float", lambda _, node: Number(node.value))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def read_yaml(path: Path) -> Any:
    """The content of a file; every number with a point or an exponent is a `Number`.

    A file that has not changed is read once a process: what is returned must not be changed.

    Raises:
        SuiteError: the file is missing, is not UTF-8, is no YAML, or has the same key twice.
    """
    try:
        status = path.stat()
        return _content(path, status.st_mtime_ns, status.st_size)
    except FileNotFoundError:
        raise SuiteError(f"{shown(path)}: there is no such file; restore it from the repository") from None
    except UnicodeDecodeError as error:
        raise SuiteError(f"{shown(path)}: not UTF-8 ({error.reason}); save it as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SuiteError(f"{shown(path)}:{line}: {error.problem}; fix that line") from None
    except (yaml.YAMLError, ValueError) as error:
        raise SuiteError(f"{shown(path)}: {' '.join(str(error).split())}; fix that file") from None


@functools.lru_cache(maxsize=256)
def _content(path: Path, changed_at: int, size: int) -> Any:
    """What a file has; time and size tell one state of it from another."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)


def parse(model: type[Model], path: Path, known: Mapping[str, Collection[str]] | None = None) -> Model:
    """Reads a file into a pydantic model.

    Args:
        model: what the file has to be.
        path: the file.
        known: the names there are of each kind that is data (`suite.published.names`); without it such names
            are taken as they are.

    Raises:
        SuiteError: the file cannot be read or breaks the schema; names the line of the first fault.
    """
    try:
        return model.model_validate(read_yaml(path), context=known)
    except ValidationError as error:
        # A misspelt key is unknown, and the right one missing: told is the line that has to be fixed.
        faults = sorted(error.errors(include_url=False), key=lambda fault: fault["type"] != "extra_forbidden")
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        refuse(path, faults[0]["loc"], _explain(faults[0], model) + more)


def with_keys(raw: Any, default: Sequence[str] = (), always: Sequence[str] = ()) -> Any:
    """A mapping of entries in which each entry knows the key that it stands under.

    Args:
        raw: what a file holds; anything but a mapping of mappings is handed on for its model to refuse.
        default: fields of an entry that are its key where the entry does not say.
        always: fields that are its key.
    """
    if not isinstance(raw, dict):
        return raw
    return {
        key: dict.fromkeys(default, key) | entry | dict.fromkeys(always, key)
        if isinstance(entry, dict)
        else entry
        for key, entry in raw.items()
    }


def refuse(path: Path, location: Location, text: str) -> NoReturn:
    """Refuses a value of a file.

    Args:
        path: the file.
        location: where the value stands; the line is that of the deepest part that exists.
        text: what is wrong; what to do.

    Raises:
        SuiteError: always.
    """
    raise SuiteError(f"{shown(path)}:{line_of(path, location)}: {text}")


def line_of(path: Path, location: Location) -> int:
    """Line of the deepest node on the way to a location, counted from 1."""
    node = yaml.compose(path.read_text(encoding="utf-8"), Loader=_Loader)
    line = 1
    for step in location:
        if isinstance(node, yaml.MappingNode):
            entry = next((pair for pair in node.value if pair[0].value == step), None)
            if entry is None:
                break
            line, node = entry[0].start_mark.line + 1, entry[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break
    return line


def shown(path: Path) -> str:
    """A path as messages show it: relative to the project where it lies inside."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def _explain(fault: ErrorDetails, model: type[BaseModel]) -> str:
    """One pydantic error as `what is wrong; what to do`."""
    last = fault["loc"][-1] if fault["loc"] else None
    key = next((step for step in reversed(fault["loc"]) if isinstance(step, str) and step != "[key]"), "file")
    if fault["type"] == "extra_forbidden":
        return f"unknown key {key!r}; {did_you_mean(key, _keys_at(model, fault['loc'][:-1]))}"
    if fault["type"] == "missing":
        return f"key {key!r} is missing; add it"
    if fault["type"] == "literal_error":
        known = re.findall(r"'([^']*)'", fault["ctx"]["expected"])
        what = "name" if last == "[key]" else key
        return f"unknown {what} {fault['input']!r}; {did_you_mean(str(fault['input']), known)}"
    if fault["type"] == "unknown_name":
        names = fault["ctx"]
        return (
            f"unknown {names['kind']} {fault['input']!r}; {did_you_mean(str(fault['input']), names['known'])}"
        )
    if fault["type"] == "value_error":
        text = str(fault["ctx"]["error"])
        return f"{key}: {text}" if isinstance(last, str) else text
    return f"{key}: {fault['msg'][0].lower()}{fault['msg'][1:]}; fix that entry"


def _keys_at(model: type[BaseModel], location: Location) -> list[str]:
    """The keys that a file may have at a location."""
    if issubclass(model, RootModel):
        model = next(_models_in(model.model_fields["root"].annotation), model)
    for step in location:
        field = model.model_fields.get(step) if isinstance(step, str) else None
        model = next(_models_in(field.annotation), model) if field else model
    return list(model.model_fields)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a type annotation mentions, from the outside in."""
    # Python 3.10 takes list[int] for a class, but issubclass refuses it.
    if isinstance(annotation, type) and not get_args(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)
