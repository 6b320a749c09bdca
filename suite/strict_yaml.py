"""Reads YAML that people edit by hand, strictly; errors name the file and the line.

Every YAML file of the suite is read here, published facts (`read_yaml`) and configs (`yaml_in`) alike.
Anything hostile or broken (a folder in place of a file, deep nesting, aliases that expand without limit, tags
that do not fit, characters that control a terminal) is found before objects are built from the file.
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
"""Keys and indices from the top of a file to a value, as pydantic reports them."""

LARGEST = 4 * 2**20
"""Most bytes of a file that people edit; published facts have a hundredth of that."""

Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: Path) -> Any:
    """The content of a file; every number with a decimal point or an exponent is a `Number`.

    A file that has not changed is read once per process, so the returned value must not be modified.

    Raises:
        SuiteError: as `read_text` and `yaml_in`, or a key appears twice.
    """
    return _content(path, state_of(path))


@functools.lru_cache(maxsize=256)
def _content(path: Path, state: tuple[int, int]) -> Any:
    return _read(read_text(path), path, objects)


def state_of(path: Path) -> tuple[int, int]:
    """Identifies the version of a file by its modification time, in nanoseconds, and its size in bytes.

    Raises:
        SuiteError: the file is missing, or its status cannot be read.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from None
    return status.st_mtime_ns, status.st_size


def yaml_in(text: str, path: Path, loader: type) -> Any:
    """Parses the text of a YAML file.

    Args:
        text: content of the file (`read_text`).
        path: the file, for messages.
        loader: a loader of PyYAML, with `LineErrors`.

    Raises:
        SuiteError: the text is not valid YAML, or exceeds what a file may have: `DEEPEST` levels, `MOST`
            values with all aliases expanded, tags of types that no file here has, characters that control a
            terminal. Names the line.
    """
    return _read(text, path, lambda text: _checked(text, loader))


def _checked(text: str, loader: type) -> Any:
    """Parses a text with a loader of PyYAML, after checking its events with `sound_events`."""
    events = loader(text)
    try:
        collections.deque(sound_events(events), maxlen=0)
    finally:
        events.dispose()
    return yaml.load(text, Loader=loader)


def _read(text: str, path: Path, read: Callable[[str], Any]) -> Any:
    """Parses a text with `read`, and turns every parsing error into one line that names the place.

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
        SuiteError: it is missing, is a folder, a pipe or a device, cannot be read, is larger than `LARGEST`
            bytes, or is not UTF-8.
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
        model: the schema of the file.
        path: the file.
        known: kind of name -> the names that the data define (`suite.published.names`); without it, such
            names are not checked.

    Raises:
        SuiteError: the file cannot be read or breaks the schema; names the line of the first fault.
    """
    try:
        return model.model_validate(read_yaml(path), context=known)
    except ValidationError as error:
        # A misspelt key makes two errors, an unknown and a missing key: report the line that has to be fixed.
        faults = sorted(error.errors(include_url=False), key=lambda fault: fault["type"] != "extra_forbidden")
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        refuse(path, faults[0]["loc"], _explain(faults[0], model) + more)


def with_keys(raw: Any, default: Sequence[str] = (), always: Sequence[str] = ()) -> Any:
    """Copies the key of each entry of a mapping into fields of the entry.

    Args:
        raw: content of a file; anything but a mapping of mappings is returned as is, for its model to refuse.
        default: fields that are set to the key unless the entry has them.
        always: fields that are always set to the key.
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
        location: location of the value; the line is that of the deepest part of it that exists.
        text: what is wrong, and what to do.

    Raises:
        SuiteError: always.
    """
    raise SuiteError(f"{shown(path)}:{line_of(path, location)}: {text}")


def line_of(path: Path, location: Location) -> int:
    """Line of the deepest node on the way to a location, counted from 1."""
    return way_to(path, location)[1]


def way_to(path: Path, location: Location) -> tuple[int, int]:
    """How far a location exists in a file: the number of its steps, and the line of the last, from 1."""
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
    """A path as messages show it: relative to the project if it is inside."""
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
    """The models that a type annotation mentions, outermost first."""
    # In Python 3.10 list[int] counts as an instance of type, but issubclass refuses it.
    if isinstance(annotation, type) and not get_args(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)
