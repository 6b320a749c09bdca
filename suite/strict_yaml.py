"""YAML that people edit by hand: read strictly, and refused with file and line.

`yaml_in` reads every YAML file of the suite, published facts and configs alike. What stands in the way of
that (a folder in place of a file, deep nesting, aliases that grow without end, tags that do not fit, letters
that steer a terminal) is found before anything is made of the file.
"""

from __future__ import annotations

import collections
import functools
import re
import stat
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args

import yaml
from pydantic import BaseModel, RootModel, ValidationError
from pydantic_core import ErrorDetails

from suite.errors import SuiteError, did_you_mean, one_line, printable
from suite.paths import ROOT
from suite.yaml_objects import Fault, Words, objects, sound_events

Location = tuple[str | int, ...]
"""Keys and indices from the top of a file down to a value, as pydantic reports them."""

LARGEST = 4 * 2**20
"""Bytes of a file that people edit; published facts have a hundredth of it."""

Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: Path) -> Any:
    """The content of a file; every number with a point or an exponent is a `Number`.

    A file that has not changed is read once a process: what is returned must not be changed.

    Raises:
        SuiteError: as `read_text` and `yaml_in`, or the same key stands twice.
    """
    return _content(path, state_of(path))


@functools.lru_cache(maxsize=256)
def _content(path: Path, state: tuple[int, int]) -> Any:
    return _read(read_text(path), path, objects)


def state_of(path: Path) -> tuple[int, int]:
    """What tells one state of a file from another: when it was changed, in nanoseconds, and its bytes.

    Raises:
        SuiteError: it is missing, or nothing can be known of it.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from None
    return status.st_mtime_ns, status.st_size


def yaml_in(text: str, path: Path, loader: type) -> Any:
    """What a YAML file says.

    Args:
        text: what stands in the file (`read_text`).
        path: the file, for messages.
        loader: a loader of PyYAML, with `LineErrors`.

    Raises:
        SuiteError: it is no YAML, or asks for more than a file may: `DEEPEST` levels, `MOST` values with all
            aliases written out, tags of types that no file here has, characters that steer a terminal. Names
            the line.
    """
    return _read(text, path, lambda text: _checked(text, loader))


def _checked(text: str, loader: type) -> Any:
    """What a loader of PyYAML makes of a text that asks for no more than a file may."""
    events = loader(text)
    try:
        collections.deque(sound_events(events), maxlen=0)
    finally:
        events.dispose()
    return yaml.load(text, Loader=loader)


def _read(text: str, path: Path, read: Callable[[str], Any]) -> Any:
    """What a text says; whatever is wrong with it is one line with its place.

    Raises:
        SuiteError: as `yaml_in`.
    """
    try:
        return read(text)
    except Fault as fault:
        raise SuiteError(f"{shown(path)}:{fault.line}: {fault}; fix that line") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{shown(path)}:{mark.line + 1}" if mark else shown(path)
        raise SuiteError(f"{where}: {one_line(error.problem)}; fix that line") from None
    except yaml.reader.ReaderError as error:
        before = text.encode()[: error.position]
        problem = f"{one_line(error.reason)} (#x{error.character:04x})"
        raise SuiteError(f"{shown(path)}:{before.count(10) + 1}: {problem}; fix that line") from None
    except (yaml.YAMLError, ValueError) as error:
        raise SuiteError(f"{shown(path)}: {one_line(error)}; fix that file") from None


def read_text(path: Path) -> str:
    """The text of a file that people edit.

    Raises:
        SuiteError: it is missing, is no file but a folder, a pipe or a device, may not be read, is larger
            than `LARGEST` bytes, or is not UTF-8.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, a socket or a device"
            raise SuiteError(f"{shown(path)}: is {what} where a file is expected; put the file there")
        if status.st_size > LARGEST:
            raise SuiteError(
                f"{shown(path)}: has {status.st_size:,} bytes; a file that people edit has up to {LARGEST:,}"
            )
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = f":{error.object[: error.start].count(10) + 1}"
        raise SuiteError(f"{shown(path)}{line}: not UTF-8 ({error.reason}); save it as UTF-8") from None
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> SuiteError:
    if isinstance(error, FileNotFoundError):
        return SuiteError(f"{shown(path)}: there is no such file; restore it from the repository")
    return SuiteError(f"{shown(path)}: cannot be read ({error.strerror}); make it a file that can")


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
    return way_to(path, location)[1]


def way_to(path: Path, location: Location) -> tuple[int, int]:
    """How much of a location there is in a file: number of steps, and the line of the last one, from 1."""
    node = yaml.compose(read_text(path), Loader=Words)
    line, steps = 1, 0
    for step in location:
        if isinstance(node, yaml.MappingNode):
            entry = next((pair for pair in node.value if pair[0].value == str(step)), None)
            if entry is None:
                break
            line, node = entry[0].start_mark.line + 1, entry[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break
        steps += 1
    return steps, line


def shown(path: Path) -> str:
    """A path as messages show it: relative to the project where it lies inside."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def _explain(fault: ErrorDetails, model: type[BaseModel]) -> str:
    """One pydantic error as `what is wrong; what to do`."""
    last = fault["loc"][-1] if fault["loc"] else None
    key = next((step for step in reversed(fault["loc"]) if isinstance(step, str) and step != "[key]"), "file")
    given = printable(repr(fault["input"]), 80)
    if fault["type"] == "extra_forbidden":
        return f"unknown key {key!r}; {did_you_mean(key, _keys_at(model, fault['loc'][:-1]))}"
    if fault["type"] == "missing":
        return f"key {key!r} is missing; add it"
    if fault["type"] == "literal_error":
        known = re.findall(r"'([^']*)'", fault["ctx"]["expected"])
        what = "name" if last == "[key]" else key
        return f"unknown {what} {given}; {did_you_mean(str(fault['input']), known)}"
    if fault["type"] == "unknown_name":
        names = fault["ctx"]
        return f"unknown {names['kind']} {given}; {did_you_mean(str(fault['input']), names['known'])}"
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
