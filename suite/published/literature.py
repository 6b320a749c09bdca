"""Numbers from the wider literature: ``literature.yaml``, and files of the same name in paper folders.

What the papers print, and what others say about them, is in ``claims.yaml``. Here is the rest: what other
documents print about a **pair** (a teacher, a student and a data set), whether for their own method, a re-run
of somebody else's, or a quoted number. A number is written as printed. A claim takes over a number by naming
its row as a source of provenance ``secondary``; it then says who claims it (`Claim.claimed_by`).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from suite.catalogue import Catalogue, collect, current, entries
from suite.errors import did_you_mean
from suite.published.claims import Discrepancy, Numbers, NumbersBySetting, Settings
from suite.published.datasets import read_dataset_names
from suite.published.metrics import read_metrics
from suite.published.models import read_models
from suite.strict import Strict
from suite.strict_yaml import Location, parse, refuse

LITERATURE = "literature.yaml"

Provenance = Literal["own", "quoted", "re-run", "unstated"]
"""Whose run a number comes from: the method's authors', one quoted from elsewhere, one by the authors of the
document, or one of the last two without the document saying which."""


class Row(Strict):
    """Numbers of one method on a pair.

    Attributes:
        row: id of the row, unique over all papers and all literature.
        method: its name, the same in all rows of the method; None for a model trained alone.
        provenance: whose run it is, if that differs from the rest of the document.
        metrics: the numbers; empty if only a gain was printed.
        gains: printed gains over the student alone.
        spread: printed standard deviations over repeated runs.
        settings: hyper-parameters that the document states.
        discrepancies: ids of discrepancies of the same file that concern it.
        note: what a reader must know.
    """

    row: str
    method: str | None = None
    provenance: Provenance | None = None
    metrics: Numbers = {}
    gains: Numbers = {}
    spread: Numbers = {}
    settings: Settings = {}
    discrepancies: list[str] = []
    note: str | None = None

    @model_validator(mode="after")
    def _has_a_number(self) -> Row:
        if not self.metrics and not self.gains:
            raise ValueError(f"row {self.row!r} has no number; write its metrics or gains")
        return self


class PairRows(Strict):
    """What a document prints about one pair.

    Attributes:
        teacher: model id; None if the student learns without one.
        student: model id; None for a teacher alone.
        teacher_metrics: accuracy of the teacher that the document prints alongside.
        student_metrics: accuracy of the student alone that it prints alongside.
        rows: its numbers.
    """

    teacher: str | None = None
    student: str | None = None
    teacher_metrics: NumbersBySetting = {}
    student_metrics: NumbersBySetting = {}
    rows: list[Row]

    @model_validator(mode="after")
    def _names_what_was_trained(self) -> PairRows:
        for row in self.rows:
            if row.method is not None and self.student is None:
                raise ValueError(f"row {row.row!r} is distilled; name the student of its pair")
            if row.method is None and (self.teacher is None) == (self.student is None):
                raise ValueError(
                    f"row {row.row!r} is a model trained alone; name only that model in its pair"
                )
        return self


class Document(Strict):
    """A table, README or collection of a third party.

    Attributes:
        title: in a few words.
        document: where it is, with the version that was read.
        dataset: where its numbers were measured.
        provenance: whose runs they are, unless a row says otherwise.
        protocol: how they were produced, as far as the document says.
        note: what a reader must know about all of them.
        pairs: its numbers.
    """

    title: str
    document: str
    dataset: str
    provenance: Provenance
    protocol: str | None = None
    note: str | None = None
    pairs: list[PairRows]

    def whose(self, row: Row) -> Provenance:
        """Whose run a row of this document is."""
        return row.provenance or self.provenance


class Literature(Strict):
    """One file, or all of them.

    Attributes:
        networks: id -> name of networks that no recipe trains but pairs name.
        datasets: id -> name of data sets that the suite does not have but documents name.
        documents: by id.
        discrepancies: contradictions between documents.
    """

    networks: dict[str, str] = {}
    datasets: dict[str, str] = {}
    documents: dict[str, Document] = {}
    discrepancies: list[Discrepancy] = []

    def rows(self) -> Iterator[tuple[str, PairRows, Row]]:
        """Every row, preceded by the id of its document and its pair, in the order of the files."""
        for name, document in self.documents.items():
            for pair in document.pairs:
                for row in pair.rows:
                    yield name, pair, row

    def discrepancy(self, name: str) -> Discrepancy:
        """The discrepancy with this id.

        Raises:
            KeyError: there is none; ids inside loaded literature always exist.
        """
        return {found.id: found for found in self.discrepancies}[name]


def load_literature() -> Literature:
    """The literature of all files; read once per catalogue.

    Raises:
        SuiteError: a file breaks the schema or contradicts another; names file and line.
    """
    return _of(current())


@functools.lru_cache(maxsize=8)
def _of(catalogue: Catalogue) -> Literature:
    return read_literature(*catalogue)


def read_literature(shared: Path, outside: tuple[Path, ...] = ()) -> Literature:
    """The literature of a catalogue; see `load_literature`. The file is optional in every folder."""
    files = [path for path in Catalogue(shared, outside).files(LITERATURE) if path.exists()]
    known = {"metric": read_metrics(shared, outside)}
    parts = {path: parse(Literature, path, known) for path in files}

    def together(group: Literal["networks", "datasets", "documents"], kind: str) -> dict[str, object]:
        return entries(collect(kind, files, lambda path: getattr(parts[path], group), under=(group,)))

    whole = Literature.model_construct(
        networks=together("networks", "network"),
        datasets=together("datasets", "data set"),
        documents=together("documents", "document"),
        discrepancies=[found for part in parts.values() for found in part.discrepancies],
    )
    models = read_models(shared, outside)
    datasets = read_dataset_names(shared, outside)
    seen: dict[tuple[str, str], str] = {}
    for path, part in parts.items():
        for location, text in (
            *_known_twice(part, models, datasets),
            *_dangling(part, {*models, *whole.networks}, {*datasets, *whole.datasets}),
            *_repeated(part, seen),
        ):
            refuse(path, location, text)
    return whole


def _known_twice(
    part: Literature, models: Mapping[str, object], datasets: Mapping[str, object]
) -> Iterator[tuple[Location, str]]:
    """Finds networks and data sets that the suite has already, and that need no second name."""
    for name in part.networks:
        if name in models:
            yield ("networks", name), f"the suite has a model {name!r}; leave it out here"
    for name in part.datasets:
        if name in datasets:
            yield ("datasets", name), f"the suite has a data set {name!r}; leave it out here"


def _dangling(part: Literature, models: set[str], datasets: set[str]) -> Iterator[tuple[Location, str]]:
    """Finds references to unknown names, and discrepancies that nothing refers to."""
    discrepancies = {found.id for found in part.discrepancies}
    named: set[str] = set()
    for key, document in part.documents.items():
        at: Location = ("documents", key)
        if document.dataset not in datasets:
            text = f"unknown data set {document.dataset!r}; {did_you_mean(document.dataset, datasets)}"
            yield (*at, "dataset"), text
        for i, pair in enumerate(document.pairs):
            for end, name in (("teacher", pair.teacher), ("student", pair.student)):
                if name is not None and name not in models:
                    text = f"there is no model {name!r}; {did_you_mean(name, models)}, or add it to networks"
                    yield (*at, "pairs", i, end), text
            for j, row in enumerate(pair.rows):
                named.update(row.discrepancies)
                for k, name in enumerate(row.discrepancies):
                    if name not in discrepancies:
                        text = f"there is no discrepancy {name!r}; {did_you_mean(name, discrepancies)}"
                        yield (*at, "pairs", i, "rows", j, "discrepancies", k), text
    for i, found in enumerate(part.discrepancies):
        if found.id not in named:
            text = f"discrepancy {found.id!r} is not referred to anywhere; name it where it belongs"
            yield ("discrepancies", i, "id"), text


def _repeated(part: Literature, seen: dict[tuple[str, str], str]) -> Iterator[tuple[Location, str]]:
    """Finds ids of rows and discrepancies that are in use already.

    Args:
        part: one file.
        seen: kind and id -> where it is used; those of this file are added.
    """
    places: list[tuple[str, str, Location]] = []
    for key, document in part.documents.items():
        for i, pair in enumerate(document.pairs):
            for j, row in enumerate(pair.rows):
                places.append(("row", row.row, ("documents", key, "pairs", i, "rows", j, "row")))
    for i, found in enumerate(part.discrepancies):
        places.append(("discrepancy", found.id, ("discrepancies", i, "id")))
    for kind, name, location in places:
        if (kind, name) in seen:
            yield location, f"{kind} {name!r} is in {seen[kind, name]} already; give one of them another id"
        seen[kind, name] = str(location[1]) if kind == "row" else "the discrepancies"
