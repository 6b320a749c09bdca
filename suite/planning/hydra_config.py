"""Composes configs with Hydra; what compositions have in common is computed once per process.

`hydra.compose` takes a tenth of a second: it reads every YAML file again, merges Hydra's own settings in,
copies everything and resolves it. A paper needs dozens of compositions, which differ in a few choices. Here
Hydra's own steps are called one by one (parsing overrides, building the defaults list, merging files,
applying overrides), and their results are kept wherever compositions share them:

* a file is read once;
* the files behind the choice of one group are merged once, into a `_Part`. Files of different groups end up
  under different keys of the config, so the order in which the groups are merged does not matter;
* a part is resolved once for all compositions that agree on it and on every value its interpolations reach.

A composition that does not fit this scheme is passed to `hydra.compose` itself, and so is every one that
fails, so that errors have Hydra's wording. `tests/planning/test_hydra_config.py` compares the two ways.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import re
import threading
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir, version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.defaults_list import Overrides, create_defaults_list
from hydra._internal.utils import create_config_search_path
from hydra.core.default_element import ConfigDefault, GroupDefault, InputDefault, ResultDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, QuotedString
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf

from suite.errors import SuiteError, printable
from suite.paths import CONF
from suite.planning.config_files import ConfigCopies, ConfigFiles, OneEntry, calls_a_resolver
from suite.strict_yaml import Location, shown, way_to

MAIN_CONFIG = "config"
"""The config of `suite/conf` whose defaults list names the groups."""

VERSION_BASE = "1.3"
"""The Hydra release whose defaults apply (`version_base`)."""

Lines = tuple[str, ...]
"""Overrides as written."""

_LOCK = threading.RLock()


def compose_config(
    choices: Lines, overrides: Lines = (), folders: Sequence[Path] = (CONF,)
) -> dict[str, Any]:
    """Composes `suite/conf/config.yaml`, exactly as Hydra does, and resolves it.

    Args:
        choices: the choices of a recipe as Hydra overrides: `profile=mini`, `model@student=retinanet-r50`,
            and values of its own such as `method.losses.fgd.arguments.alpha=0.1`.
        overrides: the user's Hydra overrides, applied last.
        folders: the folders of the configs: first `suite/conf`, then folders with further choices of its
            groups (`model/`, `method/`, ...). Files are read once per process.

    Returns:
        The whole config with its interpolations resolved, in the types of JSON (a key that is a number in
        YAML is a string here). The caller may modify it.

    Raises:
        SuiteError: an override does not compose, calls a resolver or changes a setting of Hydra itself; a
            folder or a file is missing; a file is not valid YAML; two folders have a choice of the same name.
    """
    absolute = tuple(Path(os.path.abspath(folder)) for folder in folders)
    # Compositions share nodes, and each node refers to the config that it is currently in.
    with _LOCK:
        text = _composed(absolute, tuple(choices), tuple(overrides))
    composed: dict[str, Any] = json.loads(text)
    return composed


@functools.lru_cache(maxsize=4096)
def _composed(folders: tuple[Path, ...], choices: Lines, overrides: Lines) -> str:
    """The composed config as JSON."""
    composer = _composer(folders)
    _refuse_what_is_no_choice(composer, choices, overrides)
    try:
        return composer.compose((*choices, *overrides))
    except SuiteError:
        raise
    except Exception:
        # Either it cannot be put together from parts, or it is wrong and Hydra says why.
        return _composed_by_hydra(folders, choices, overrides)


@functools.cache
def _composer(folders: tuple[Path, ...]) -> _Composer:
    for folder in folders:
        if not folder.is_dir():
            raise SuiteError(f"{shown(folder)}: there is no such folder of configs; name one that exists")
    return _Composer(folders)


class _DoesNotFitError(Exception):
    """This composition cannot be put together from parts."""


@dataclass(frozen=True)
class _Part:
    """The value of one key of a composed config, before interpolations are resolved.

    Attributes:
        key: the inputs that it was built from; parts with the same key are equal.
        node: the merged files.
        content: the node as plain dictionaries and lists.
        reads: the paths that its interpolations refer to; None if they cannot be determined (`_reads`).
    """

    key: Hashable
    node: DictConfig
    content: Any
    reads: frozenset[str] | None

    @classmethod
    def of(cls, key: Hashable, node: DictConfig) -> _Part:
        """Creates the part of a node."""
        content = OmegaConf.to_container(node, resolve=False)
        return cls(key, node, content, _reads(content))

    def at(self, path: str) -> Any:
        """The unresolved value at a path of the config, or the deepest value on the way that exists."""
        value = self.content
        for step in path.split(".")[1:]:
            if not isinstance(value, dict) or step not in value:
                break
            value = value[step]
        return value


@dataclass
class _Composer:
    """Composes configs of the same folders from cached parts.

    Attributes:
        folders: the folders of the configs; the first has the main config.
    """

    folders: tuple[Path, ...]
    _parsed: dict[str, Override] = field(default_factory=dict)
    _defaults: dict[Lines, list[ResultDefault]] = field(default_factory=dict)
    _entries: dict[Hashable, list[ResultDefault] | None] = field(default_factory=dict)
    _parts: dict[Hashable, dict[str, _Part]] = field(default_factory=dict)
    _values: dict[Hashable, tuple[str, frozenset[str] | None]] = field(default_factory=dict)
    _resolved: dict[Hashable, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        version.setbase(VERSION_BASE)
        self._files = ConfigFiles(self.folders)
        self._loader = ConfigLoaderImpl(create_config_search_path(str(self.folders[0])))
        self._parser = OverridesParser.create()

    def parsed(self, line: str) -> Override:
        """An override as Hydra parses it.

        Raises:
            HydraException: it is not a valid override.
        """
        if line not in self._parsed:
            [self._parsed[line]] = self._parser.parse_overrides([line])
        return self._parsed[line]

    def path_of(self, config: str) -> Path | None:
        """The file of a config, or None."""
        found = (folder.file(config) for folder in self._files.folders if folder.is_config(config))
        return next(found, None)

    def compose(self, lines: Lines) -> str:
        """The config with these overrides, as JSON.

        Raises:
            SuiteError: a file cannot be read.
            Exception: it cannot be put together from parts, or does not compose.
        """
        chosen, values = self.split(lines)
        parts = self._parts_of(self.defaults_list(chosen))
        for name in _touched(parts, values):
            parts[name] = replace(parts[name], node=copy.deepcopy(parts[name].node))
        root = OmegaConf.create({}, flags={"no_deepcopy_set_nodes": True})
        for name, part in parts.items():
            root[name] = part.node
        OmegaConf.set_struct(root, True)
        self._loader._apply_overrides_to_config(values, root)
        return self._as_json(root, self._after(values, root, parts))

    def split(self, lines: Lines) -> tuple[list[Override], list[Override]]:
        """Splits overrides into those that choose files and those that set values, by whether a group exists.

        Raises:
            _DoesNotFitError: one of them is a sweep over several values.
        """
        overrides = [self.parsed(line) for line in lines]
        if any(override.is_sweep_override() for override in overrides):
            raise _DoesNotFitError
        values: list[Override] = Overrides(self._files, overrides).config_overrides
        return [entry for entry in overrides if not any(entry is value for value in values)], values

    def defaults_list(self, chosen: list[Override]) -> list[ResultDefault]:
        """The files to merge, in Hydra's order.

        Args:
            chosen: the overrides that choose files.
        """
        key = tuple(str(override.input_line) for override in chosen)
        if key not in self._defaults:
            try:
                files = self._by_entry(chosen)
            except HydraException:
                # Hydra then builds the whole list, so that its error is about the first broken file.
                files = None
            self._defaults[key] = _files_of(self._files, chosen) if files is None else files
        return self._defaults[key]

    def _by_entry(self, chosen: list[Override]) -> list[ResultDefault] | None:
        """The same, put together from the files that each entry of the main defaults list adds.

        Returns:
            None if an entry may depend on more than its own choice: if an override does more than replace a
            choice, or a chosen file has choices of its own.
        """
        if any(override.type is not OverrideType.CHANGE for override in chosen):
            return None
        replaced: dict[str, Any] = {override.get_key_element(): override.value() for override in chosen}
        main = self._files.load_config(MAIN_CONFIG)
        entries = copy.deepcopy(main.defaults_list or []) if main else []
        choices: dict[str, str] = {}
        for entry in entries:
            if isinstance(entry, GroupDefault):
                entry.update_parent("", "")
                key = entry.get_override_key()
                entry.value = replaced.pop(key, entry.value)
                if not isinstance(entry.value, str) or entry.optional or entry.override or key in choices:
                    return None
                choices[key] = entry.value
            elif not entry.is_self():
                return None
        if replaced or not any(entry.is_self() for entry in entries):
            return None
        # As in Hydra, an entry may refer to choices that are not interpolations themselves.
        known = OmegaConf.create({key: choice for key, choice in choices.items() if "${" not in choice})
        files: list[ResultDefault] = []
        for entry in entries:
            if isinstance(entry, GroupDefault) and entry.is_interpolation():
                entry.resolve_interpolation(known)
            brought = self._brought(entry)
            if brought is None:
                return None
            files += brought
        return files

    def _brought(self, entry: InputDefault) -> list[ResultDefault] | None:
        """The files that one entry adds, or None if other choices may change them."""
        key = () if entry.is_self() else (entry.get_override_key(), entry.get_name())
        if key not in self._entries:
            listed = _files_of(OneEntry(self._files, MAIN_CONFIG, entry), [])
            found = [file for file in listed if (file.config_path == MAIN_CONFIG) == entry.is_self()]
            independent = entry.is_self() or all(self._has_no_choices(file) for file in found)
            self._entries[key] = found if independent else None
        return self._entries[key]

    def _has_no_choices(self, file: ResultDefault) -> bool:
        """Whether the defaults list of a file names only files, and no groups."""
        loaded = self._files.load_config(str(file.config_path))
        defaults = loaded.defaults_list if loaded else None
        return all(
            isinstance(other, ConfigDefault) and "${" not in str(other.path) for other in defaults or []
        )

    def _parts_of(self, defaults: list[ResultDefault]) -> dict[str, _Part]:
        """Merges the files of each key of the config; keys in the order in which they first appear.

        Raises:
            _DoesNotFitError: files of different packages share a key.
        """
        packages: dict[str, list[ResultDefault]] = {}
        for default in defaults:
            # Files without a package are taken one by one: they may have several keys.
            top = re.split(r"[.\[]", default.package or "", maxsplit=1)[0] or f"/{default.config_path}"
            packages.setdefault(top, []).append(default)
        parts: dict[str, _Part] = {}
        for files in packages.values():
            made = self._merged(tuple((str(file.config_path), file.package) for file in files), files)
            if parts.keys() & made.keys():
                raise _DoesNotFitError
            parts |= made
        return parts

    def _merged(self, key: Hashable, files: list[ResultDefault]) -> dict[str, _Part]:
        """The parts that Hydra merges these files into, by key of the config."""
        if key not in self._parts:
            # Merging copies a config into its package; without one it would use the cached node itself.
            packaged = all(file.package for file in files)
            source = self._files if packaged else ConfigCopies(self._files)
            merged = self._loader._compose_config_from_defaults_list(files, source)
            self._parts[key] = {
                name: _Part.of((key, name), node) for name, node in _containers(merged).items()
            }
        return self._parts[key]

    def _after(self, values: list[Override], root: DictConfig, before: dict[str, _Part]) -> dict[str, _Part]:
        """The parts after overrides were applied; the key of a part that may have changed includes them."""
        touched = _touched(before, values)
        lines = tuple(override.input_line for override in values)
        return {
            name: before[name]
            if name in before and name not in touched
            else _Part.of((before[name].key if name in before else None, name, lines), node)
            for name, node in _containers(root).items()
        }

    def _as_json(self, root: DictConfig, parts: dict[str, _Part]) -> str:
        """Resolves the parts that have not been resolved before, and joins all into one JSON text.

        Raises:
            OmegaConfBaseException: an interpolation leads nowhere, or a value is missing.
        """
        texts = []
        for name, part in parts.items():
            key = (part.key, self._seen_by(part, parts))
            if key not in self._resolved:
                content = OmegaConf.to_container(part.node, resolve=True, throw_on_missing=True)
                self._resolved[key] = json.dumps(content)
            texts.append(f"{json.dumps(name)}: {self._resolved[key]}")
        return f"{{{', '.join(texts)}}}"

    def _seen_by(self, part: _Part, parts: Mapping[str, _Part]) -> Hashable:
        """Cache key of everything that the interpolations of a part lead to, directly or through others."""
        values: dict[str, str] = {}
        left = [part.reads]
        while left:
            reads = left.pop()
            if reads is None:
                return tuple(sorted((name, other.key) for name, other in parts.items()))
            for path in reads - values.keys():
                values[path], further = self._value(path, parts)
                left.append(further)
        return tuple(sorted(values.items()))

    def _value(self, path: str, parts: Mapping[str, _Part]) -> tuple[str, frozenset[str] | None]:
        """The unresolved value at a path as JSON, and the paths that its interpolations refer to."""
        part = parts.get(path.partition(".")[0])
        if part is None:
            return "", frozenset()
        if (part.key, path) not in self._values:
            value = part.at(path)
            self._values[part.key, path] = json.dumps(value), _reads(value)
        return self._values[part.key, path]


def _files_of(files: ConfigFiles, chosen: list[Override]) -> list[ResultDefault]:
    """Hydra's defaults list of the main config, without Hydra's own settings."""
    defaults: list[ResultDefault] = create_defaults_list(
        repo=files, config_name=MAIN_CONFIG, overrides_list=chosen, prepend_hydra=False, skip_missing=False
    ).defaults
    return defaults


def _containers(config: DictConfig) -> dict[str, DictConfig]:
    """The content of a config by key.

    Raises:
        _DoesNotFitError: a value is not a mapping.
    """
    nodes = {name: config._get_node(name) for name in config}
    if not all(
        isinstance(name, str) and isinstance(node, DictConfig) and isinstance(node._value(), dict)
        for name, node in nodes.items()
    ):
        raise _DoesNotFitError
    return nodes  # type: ignore[return-value]  # checked above


_INTERPOLATION = re.compile(r"\$\{")
_PLAIN_INTERPOLATION = re.compile(r"\$\{\s*([A-Za-z_]\w*(?:\.[\w-]+)*)(?=\s*\}|\.\$\{)")
"""An interpolation with a path from the top of the config, whose last steps may be interpolations."""


def _reads(content: Any) -> frozenset[str] | None:
    """The paths that interpolations in a value refer to; None if one of them is not a plain path.

    Relative interpolations, brackets and calls of a resolver are not plain.
    """
    found: set[str] = set()
    for text in _texts(content):
        plain = _PLAIN_INTERPOLATION.findall(text)
        if len(plain) != len(_INTERPOLATION.findall(text)):
            return None
        found.update(plain)
    return frozenset(found)


def _texts(value: Any) -> Iterator[str]:
    """All strings in a value, except for keys."""
    if isinstance(value, QuotedString):
        yield value.text
    elif isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _reach(parts: Mapping[str, _Part], names: Iterable[str]) -> set[str]:
    """These parts, and all that their interpolations may lead to, directly or through others."""
    found: set[str] = set()
    left = {name for name in names if name in parts}
    while left:
        name = left.pop()
        found.add(name)
        reads = parts[name].reads
        named = parts if reads is None else {path.partition(".")[0] for path in reads}
        left |= {other for other in named if other in parts} - found
    return found


def _touched(parts: Mapping[str, _Part], values: list[Override]) -> set[str]:
    """The parts that overrides may change: Hydra follows interpolations on the way to what it sets."""
    if any("${" in str(override.input_line) for override in values):
        return set(parts)
    names = [re.split(r"[.\[]", override.key_or_group, maxsplit=1)[0] for override in values]
    # An override such as `[student].name` begins with a bracket, which leaves no name.
    return set(parts) if "" in names else _reach(parts, names)


def _refuse_what_is_no_choice(composer: _Composer, choices: Lines, overrides: Lines) -> None:
    """Refuses overrides whose value depends on the machine or the day, or that do not affect a training.

    Raises:
        SuiteError: an override calls a resolver (`${oc.env:HOME}`, `${now:%H}`) or sets Hydra itself.
    """
    for line in (*choices, *overrides):
        whose = "override" if line in overrides else "the recipe's override"
        try:
            override = composer.parsed(line)
        except Exception:
            # Composing reports it better, with the whole command. Hydra raises more than its own errors.
            continue
        if override.is_hydra_override() or override.key_or_group == "hydra":
            raise SuiteError(f"{whose} {line!r}: settings of Hydra itself change no training; leave it out")
        if any(calls_a_resolver(text) for text in _texts(override._value)):
            raise SuiteError(
                f"{whose} {line!r} calls a resolver, which may give another value on another machine or day; "
                "write the value itself"
            )


def _composed_by_hydra(folders: tuple[Path, ...], choices: Lines, overrides: Lines) -> str:
    """The config as `hydra.compose` composes it, as JSON.

    Raises:
        SuiteError: it does not compose.
    """
    try:
        return json.dumps(plain_hydra((*choices, *overrides), folders))
    except RecursionError:
        raise SuiteError(f"{_asked(choices, overrides)} is nested too deeply; write it flatter") from None
    except SuiteError:
        raise
    # Hydra also raises ValueError, TypeError, KeyError, ... for a value of the wrong type.
    except Exception as error:
        # After the first lines Hydra lists where it looked, and OmegaConf the type of the node.
        told = str(error).split("Config search path")[0].split("object_type=")[0]
        lines = list(filter(None, (line.strip().rstrip(".") for line in told.splitlines())))
        if lines and lines[0].startswith("Error merging override"):
            lines = ["it is of another type than what it replaces"]
        # Hydra's further lines tell how to add a key, or what a group offers.
        text = printable(f"{'; '.join(lines[:2])} {', '.join(lines[2:])}".rstrip())
        asked = _asked(choices, overrides)
        if not overrides and (key := getattr(error, "full_key", None)):
            asked = f"{find_place(choices, tuple(str(key).split('.')), folders)}: {key}"
        raise SuiteError(
            f"{asked} does not compose: {text}{_where(error, folders)}; "
            "'python -m suite plan --format json' shows what there is"
        ) from None


def _asked(choices: Lines, overrides: Lines) -> str:
    kind, lines = ("override", overrides) if overrides else ("recipe", choices)
    return f"{kind} {printable(repr(' '.join(lines)))}"


def find_place(choices: Lines, location: Location, folders: Sequence[Path]) -> str:
    """The file and line that set the value at a location of a composed config.

    Args:
        choices: as for `compose_config`.
        location: keys and indices from the top of the config.
        folders: the folders of the configs.
    """
    composer = _composer(tuple(Path(os.path.abspath(folder)) for folder in folders))
    with _LOCK:
        files = composer.defaults_list(composer.split(choices)[0])
    best = (0, "suite/conf")
    for file in files:
        package = tuple(filter(None, (file.package or "").split(".")))
        path = composer.path_of(str(file.config_path))
        if path is not None and location[: len(package)] == package:
            steps, line = way_to(path, location[len(package) :])
            # If two files set it, the later one counts.
            if len(package) + steps >= best[0]:
                best = (len(package) + steps, f"{shown(path)}:{line}")
    return best[1]


def plain_hydra(lines: Lines, folders: Sequence[Path] = (CONF,)) -> Any:
    """Composes and resolves through Hydra's public interface only: slow, but correct by definition.

    Args:
        lines: all overrides.
        folders: the folders of the configs; the first has the main config.

    Raises:
        HydraException: an override is wrong.
        OmegaConfBaseException: an interpolation leads nowhere, or a value is missing.
        ValueError: a value has the wrong type.
    """
    first, *others = folders
    further = [f"hydra.searchpath=[{','.join(_quoted(f'file://{folder}') for folder in others)}]"]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(first), version_base=VERSION_BASE, job_name="suite"):
        config = hydra_compose(MAIN_CONFIG, overrides=[*(further if others else ()), *lines])
    return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)


def _quoted(text: str) -> str:
    """Quotes a string in the grammar of overrides."""
    return "'" + re.sub(r"(\\*)'", r"\1\1\\'", text) + "'"


def _where(error: Exception, folders: Sequence[Path]) -> str:
    """The file whose defaults list names a config that does not exist, in parentheses; empty if unknown."""
    asking = re.match(r"In '([^']+)'", str(error)) if isinstance(error, MissingConfigException) else None
    paths = [folder / f"{asking[1]}.yaml" for folder in folders] if asking else []
    return "".join(
        f" ({shown(path)})" for path in paths if path.is_file() and asking and asking[1] != MAIN_CONFIG
    )
