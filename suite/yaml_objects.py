"""Builds objects from YAML in one pass over its events, and enforces limits on what a file may contain.

PyYAML builds nodes from events and objects from nodes, and checking the events first means parsing the text
twice. Here each event is turned into an object at once, without recursion, and a scalar that occurs in a file
many times is resolved once. Resolution of scalars and the rules of merging are PyYAML's.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from typing import Any

import yaml

from suite.errors import printable

try:
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # PyYAML without libyaml gives the same result, only slower
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

DEEPEST = 40
"""Deepest nesting of lists and mappings; published facts have eight levels."""

MOST = 200_000
"""Most values of a file with all aliases expanded; published facts have a tenth of that."""

_CORE = "tag:yaml.org,2002:"
_KINDS = {
    "map": yaml.MappingStartEvent,
    "seq": yaml.SequenceStartEvent,
    **dict.fromkeys(("str", "int", "float", "bool", "null"), yaml.ScalarEvent),
}
"""The tags that a file may use, without their prefix -> the kind of node that they may apply to."""


class Number(float):
    """A number that remembers how it was written: ``69.90`` is 69.9 with two decimals.

    Attributes:
        text: the number as written in the file.
    """

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Number:
        """Reads the number from its text."""
        number = super().__new__(cls, text)
        number.text = text
        return number


class Fault(Exception):  # noqa: N818 - becomes a SuiteError
    """A file contains what no file may contain.

    Attributes:
        line: line of the fault, counted from 1.
    """

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line


class LineErrors:
    """Mix-in for loaders: errors in scalars (``!!int x``, a number of 5,000 digits) name the line."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Builds the object of a node.

        Raises:
            MarkedYAMLError: the scalar is not valid for its type.
        """
        try:
            return super().construct_object(node, deep)  # type: ignore[misc]  # of the loader
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            if not isinstance(node, yaml.ScalarNode):
                raise
            kind = str(node.tag).rpartition(":")[2]
            problem = f"{printable(repr(node.value), 60)} is no {kind} ({type(error).__name__})"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None


class Words(LineErrors, _SafeLoader):
    """A loader for YAML 1.1 scalars without its traps: ``5e-4`` is a number, and a date is a string."""


def _number(loader: Words, node: yaml.ScalarNode) -> float:
    text = node.value
    # Values that float() cannot parse (.inf, 1:30.5) are left to PyYAML.
    return Number(text) if re.fullmatch(r"[-+.\deE]+", text) else loader.construct_yaml_float(node)


Words.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != f"{_CORE}timestamp"]
    for first, resolvers in Words.yaml_implicit_resolvers.items()
}
Words.add_constructor(f"{_CORE}float", _number)
Words.add_implicit_resolver(
    f"{_CORE}float",
    re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def sound_events(loader: Any) -> Iterator[Any]:
    """Yields the events of a text, and checks that they keep within the limits for a file.

    Args:
        loader: a loader of PyYAML that was created for the text.

    Raises:
        Fault: `DEEPEST` levels or `MOST` values are exceeded, an alias is inside the value that it names, a
            tag is of a type that no file here has, or a scalar has a character that controls a terminal.
        YAMLError: the text is not valid YAML.
    """
    sizes: dict[str, int] = {}
    # For every open list and mapping: its anchor, and the number of values it has so far.
    still_open: list[tuple[str | None, int]] = [(None, 0)]
    while (kind := type(event := loader.get_event())) is not yaml.StreamEndEvent:
        problem, added = None, 1
        if kind is yaml.ScalarEvent:
            problem = _wrong_tag(event) or _wrong_text(event)
            if event.anchor:
                sizes[event.anchor] = 1
        elif kind in _OPENS:
            problem = _wrong_tag(event)
            still_open.append((event.anchor, 0))
            # From here on the anchor names this value, whose size is not known yet.
            sizes.pop(event.anchor or "", None)
            if len(still_open) > DEEPEST:
                problem = problem or f"lists and mappings are nested in more than {DEEPEST} levels"
        elif kind in _CLOSES:
            anchor, added = still_open.pop()
            if anchor:
                sizes[anchor] = added
        elif kind is yaml.AliasEvent:
            if event.anchor not in sizes and any(name == event.anchor for name, _ in still_open):
                problem = f"*{event.anchor} is inside the value that it names"
            added = sizes.get(str(event.anchor), 1)
        else:
            yield event
            continue
        anchor, values = still_open[-1]
        still_open[-1] = (anchor, values + added)
        if values + added > MOST:
            problem = problem or f"there are more than {MOST:,} values, aliases written out"
        if problem:
            raise Fault(event.start_mark.line + 1 if event.start_mark else 1, problem)
        yield event


_OPENS = (yaml.SequenceStartEvent, yaml.MappingStartEvent)
_CLOSES = (yaml.SequenceEndEvent, yaml.MappingEndEvent)


def _wrong_tag(event: yaml.CollectionStartEvent | yaml.ScalarEvent) -> str | None:
    """The fault of a YAML core tag that the suite does not accept, or that does not fit its node; or None."""
    tag = str(event.tag or "")
    if not tag.startswith(_CORE):
        return None
    kind = tag.removeprefix(_CORE)
    if kind not in _KINDS:
        return f"the tag !!{kind} is not read here"
    return None if isinstance(event, _KINDS[kind]) else f"the tag !!{kind} stands before something else"


def _wrong_text(event: yaml.CollectionStartEvent | yaml.ScalarEvent) -> str | None:
    """The fault of a scalar with an invisible character or one that controls a terminal; or None."""
    if not isinstance(event, yaml.ScalarEvent) or event.value.isprintable():
        return None
    wrong = re.sub(r"[\n\t\xa0\u2000-\u200a\u202f\u205f\u3000]", "", event.value)
    hidden = next((letter for letter in wrong if not letter.isprintable()), None)
    return None if hidden is None else f"the character {printable(hidden)} cannot be printed"


class _Open:
    """A list or mapping that is being read.

    Attributes:
        content: its content so far.
        mark: where it begins.
        merged: for a mapping, the mappings merged into it (``<<``); later ones take precedence.
        names: for a mapping, its keys as written.
        key: for a mapping, the key that waits for its value, in a list of at most one.
    """

    def __init__(self, content: list[Any] | dict[Any, Any], mark: Any) -> None:
        self.content = content
        self.mark = mark
        self.merged: list[dict[Any, Any]] = []
        self.names: set[str] = set()
        self.key: list[Any] = []


_MERGE = object()
"""Sentinel for the key ``<<``."""


class _Objects:
    """Builds objects from events."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._named: dict[str, Any] = {}
        self._words: dict[tuple[str | None, str, tuple[bool, bool]], Any] = {}
        self._open: list[_Open] = []
        self.document: list[Any] = []

    def take(self, event: Any) -> None:
        """Processes the next event.

        Raises:
            MarkedYAMLError: it is not valid here.
        """
        kind = type(event)
        if kind is yaml.ScalarEvent:
            value = self._word(event)
            self._name(event, value)
            self._put(value, event)
        elif kind in _OPENS:
            if event.tag and not event.tag.startswith(_CORE) and event.tag != "!":
                raise _unknown(event)
            content: list[Any] | dict[Any, Any] = [] if kind is yaml.SequenceStartEvent else {}
            self._name(event, content)
            if self._open and isinstance(self._open[-1].content, dict) and not self._open[-1].key:
                raise _error("found unhashable key", event.start_mark)
            self._open.append(_Open(content, event.start_mark))
        elif kind in _CLOSES:
            closed = self._open.pop()
            if closed.merged:
                own = dict(closed.content)
                closed.content.clear()
                for mapping in (*closed.merged, own):
                    closed.content.update(mapping)  # type: ignore[union-attr]  # only mappings merge
            self._put(closed.content, event, closed.mark)
        elif kind is yaml.AliasEvent:
            if event.anchor not in self._named:
                raise _error("found undefined alias", event.start_mark)
            self._put(self._named[event.anchor], event)
        elif kind is yaml.DocumentStartEvent and self.document:
            raise _error("but found another document", event.start_mark)

    def _name(self, event: Any, value: Any) -> None:
        if event.anchor:
            if event.anchor in self._named:
                raise _error(f"anchor {event.anchor!r} names a second thing", event.start_mark)
            self._named[event.anchor] = value

    def _word(self, event: Any) -> Any:
        asked = (event.tag, event.value, event.implicit)
        if asked not in self._words:
            tag = event.tag
            if tag is None or tag == "!":
                tag = self._loader.resolve(yaml.ScalarNode, event.value, event.implicit)
            self._words[asked] = self._understood(tag, event)
        return self._words[asked]

    def _understood(self, tag: str, event: Any) -> Any:
        if tag == f"{_CORE}str":
            return event.value
        if tag == f"{_CORE}merge":
            return _MERGE
        return self._loader.construct_object(
            yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark)
        )

    def _put(self, value: Any, event: Any, mark: Any = None) -> None:
        """Adds a finished value to the innermost open list or mapping, or to the document."""
        if not self._open:
            self.document.append(_no_merge(value, event))
            return
        into = self._open[-1]
        if isinstance(into.content, list):
            into.content.append(_no_merge(value, event))
        elif into.key:
            key = into.key.pop()
            if key is _MERGE:
                into.merged = [*_mappings(value, mark or event.start_mark), *into.merged]
            else:
                into.content[key] = _no_merge(value, event)
        else:
            name = event.value if isinstance(event, yaml.ScalarEvent) else str(value)
            if name in into.names:
                raise _error(f"key {name!r} appears here twice", event.start_mark)
            if not isinstance(value, Hashable):
                raise _error("found unhashable key", event.start_mark)
            into.names.add(name)
            into.key.append(value)


def _no_merge(value: Any, event: Any) -> Any:
    if value is _MERGE:
        raise _error("<< stands where nothing can be merged", event.start_mark)
    return value


def _mappings(value: Any, mark: Any) -> list[dict[Any, Any]]:
    """The mappings that ``<<`` merges, lowest precedence first: in a list the first one has precedence."""
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(one, dict) for one in found):
        raise _error("expected a mapping, or a list of mappings, for merging", mark)
    return found[::-1]


def _unknown(event: Any) -> yaml.MarkedYAMLError:
    return _error(f"could not determine a constructor for the tag {event.tag!r}", event.start_mark)


def _error(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, mark)


def objects(text: str) -> Any:
    """Parses a text; every number with a decimal point or an exponent is a `Number`.

    Raises:
        Fault: it exceeds the limits for a file; see `sound_events`.
        YAMLError: it is not valid YAML, a key appears twice in a mapping, or a scalar is not valid.
    """
    loader = Words(text)
    try:
        made = _Objects(loader)
        for event in sound_events(loader):
            made.take(event)
        return made.document[0] if made.document else None
    finally:
        loader.dispose()
