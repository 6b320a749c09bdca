"""What was published: papers, tables and claims, from ``claims.yaml`` in the folder of each paper.

A **claim** is one number, or one row of numbers, that a paper or its official README prints: method,
teacher, student, metrics. A number that abstract, README and a table all print is one claim with several
sources. Settings in the text, the configs and the code are **protocols**; what anybody else printed about the
methods is **quoted** and never judged. Published sources that contradict each other are **discrepancies**;
numbers known to exist that are missing here are **gaps**.

A file is refused, with file and line, if it has an unknown key, a repeated id, a number that no source
prints, or a dangling reference.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BeforeValidator, ValidationInfo, model_validator

from suite.published.names import DatasetName, MetricAtSetting, MetricName, RoleName, TaskName
from suite.published.roles import Role, find_role, load_roles
from suite.strict import Strict
from suite.yaml_objects import Number

TableKind = Literal[
    "paper_table", "headline", "paper_table_partial", "paper_table_secondary", "paper_figure_partial",
    "repo_table", "hyperparameters", "teachers", "quoted_by_others", "reproduction",
]  # fmt: skip

_Named = TypeVar("_Named", "Table", "Discrepancy")


def _as_setting(value: Any) -> Any:
    if not isinstance(value, bool | int | float | str):
        raise ValueError(f"{value!r} is not a setting; write a number, a word, true or false")
    return value


Setting = bool | int | float | str
Settings = dict[str, Annotated[Setting, BeforeValidator(_as_setting)]]
"""Hyper-parameters by their names in the source."""

UNRELEASED: Final = "settings unreleased"
"""Mark of a row whose recipe has to choose settings that no release states."""

Document = Literal["paper", "released_config"]
"""Where the hyper-parameters of a claim are stated."""


def _as_printed(number: Any) -> str:
    """A number with the digits that were printed."""
    text = number.text if isinstance(number, Number) else str(number)
    if isinstance(number, bool) or not re.fullmatch(r"-?\d+(\.\d+)?", text):
        raise ValueError(f"{text!r} is not a number as papers print them; write it like 69.90")
    return text


Printed = Annotated[str, BeforeValidator(_as_printed)]
"""A number as it was printed, trailing zeros included."""

Numbers = dict[MetricName, Printed]
NumbersBySetting = dict[MetricAtSetting, Printed]
"""Numbers by metric; ``box_AP@2x`` if one source prints the metric for several settings."""


class Table(Strict):
    """A table, figure, abstract or collection that rows were taken from.

    Attributes:
        id: unique over all papers.
        title: what it is about.
        number: as the paper counts it.
        kind: table or figure of a paper, abstract, README, settings, or numbers of others.
        tasks: what its rows are about.
        datasets: where its numbers were measured.
        complete: False if rows are known to be missing, or if it cannot be known whether any are.
        source: the document.
        protocol: how its numbers were produced, as far as the source says.
    """

    id: str
    title: str
    number: str | None = None
    kind: TableKind
    tasks: list[TaskName]
    datasets: list[DatasetName]
    complete: bool
    source: str
    protocol: str | None = None


class Source(Strict):
    """A place that prints a claim.

    Attributes:
        row: id of the row, unique over all papers.
        table: id of its table.
        provenance: seen in the paper (text or abstract); in the official README; as a number of the paper or
            of its author in a thread of the official repository that the author answered (`thread`); or in a
            document by somebody else (`secondary`): a table listed in the paper's own folder, or a row of the
            literature (`suite.published.literature`), whose document then is the table.
        where: the place in words.
        version: which version of the document (a key of `Paper.versions`).
        printed: the numbers that this place prints, which may differ from those of the claim.
        gains: the gains that it prints, over the student alone.
    """

    row: str
    table: str
    provenance: Literal["paper", "readme", "thread", "secondary"]
    where: str
    version: str | None = None
    printed: Numbers = {}
    gains: Numbers = {}

    def is_one_of(self, literature: Collection[str]) -> bool:
        """Whether it is a row of the literature that a claim takes over, not a row of its own.

        Args:
            literature: ids of the rows of the literature.
        """
        return self.provenance == "secondary" and self.row in literature


class Metric(Strict):
    """A claimed number. In a file it is a bare number, ``top1: 71.96``.

    Attributes:
        value: percent.
        decimals: how many were printed.
        gain: over the student alone, percent points; None if no source prints it. For a number taken from the
            literature, it is the gain over the student of the same document, printed or not.
    """

    value: float
    decimals: int
    gain: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and "printed" in raw:
            text = _as_printed(raw["printed"])
            return {"value": float(text), "decimals": len(text.partition(".")[2]), "gain": raw["gain"]}
        return raw

    def __str__(self) -> str:
        return f"{self.value:.{self.decimals}f}"


class Claim(Strict):
    """What a paper says it measured.

    Attributes:
        id: unique over all papers.
        role: what the number is for the paper.
        method: name of the method; None for a model trained alone (roles teacher and baseline).
        task: what the student does.
        dataset: where it was measured.
        teacher: model id; None for a student alone and for methods without a teacher.
        student: model id; None for a teacher.
        metrics: the claimed numbers.
        baseline: claim id of the student trained alone.
        teacher_claim: claim id of the teacher's accuracy, if the paper prints it.
        recipe: id of a recipe of any paper that reproduces the number; None if it is not reproduced here, and
            the claim is only quoted.
        hyperparameters: document that states them -> hyper-parameters; text and released config may differ.
        follows: which of the two the recipe uses; given if and only if both state them and the recipe uses
            the claim's own.
        settings_of: claim id whose hyper-parameters the recipe uses, for a row that varies one of them or
            a part of the method and is comparable with that claim only if all others are the same.
        unreleased: which settings of the method no release states for this row, and what the recipe uses
            for them, in words; None if all are stated. Every table marks such a row.
        upstream_config: path in the official repository.
        sources: every place that prints the claim, the paper first.
        claimed_by: whose number it is, in words, if the paper itself does not print it; given if and only if
            every source is secondary.
        discrepancies: ids of the paper's discrepancies that concern it.
        note: what a reader must know.
    """

    id: str
    role: RoleName
    method: str | None = None
    task: TaskName
    dataset: DatasetName
    teacher: str | None = None
    student: str | None = None
    metrics: dict[MetricName, Metric]
    baseline: str | None = None
    teacher_claim: str | None = None
    recipe: str | None = None
    hyperparameters: dict[Document, Settings] = {}
    follows: Document | None = None
    settings_of: str | None = None
    unreleased: str | None = None
    upstream_config: str | None = None
    sources: list[Source]
    claimed_by: str | None = None
    discrepancies: list[str] = []
    note: str | None = None

    @property
    def judged(self) -> bool:
        """Whether records are compared with it, since a recipe reproduces it; otherwise it is only quoted."""
        return self.recipe is not None

    @property
    def kind(self) -> Role:
        """Its role, with everything that follows from it.

        Raises:
            SuiteError: there is no such role; the role of a claim that was read from a file always exists.
        """
        return find_role(self.role)

    @property
    def label(self) -> str:
        """The method in words; for a model trained alone, says so.

        Includes who claims the number, if not the paper, and a mark if its settings were not released.
        """
        method = self.method or f"{'student' if self.student else 'teacher'} alone"
        claimed_by = f"claimed by {self.claimed_by}" if self.claimed_by else None
        mark = UNRELEASED if self.unreleased else None
        return ", ".join(part for part in (method, claimed_by, mark) if part)

    @model_validator(mode="before")
    @classmethod
    def _take_gains_from_sources(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or not isinstance(raw.get("metrics"), dict):
            return raw
        gains: dict[str, float] = {}
        sources = raw.get("sources")
        for source in sources if isinstance(sources, list) else []:
            if isinstance(source, dict) and isinstance(source.get("gains"), dict):
                gains = {**source["gains"], **gains}
        numbers = {
            name: {"printed": number, "gain": gains.get(name)} for name, number in raw["metrics"].items()
        }
        return {**raw, "metrics": numbers}

    @model_validator(mode="after")
    def _fits_its_role(self, info: ValidationInfo) -> Claim:
        if not self.sources:
            raise ValueError(f"claim {self.id!r} has no source; say which row prints it")
        if not self.metrics:
            raise ValueError(f"claim {self.id!r} has no metrics; write its numbers")
        role = _role(self.role, info)
        if any(getattr(self, part) for part in role.excludes) or (self.baseline and not role.distilled):
            allowed = "all but that model" if not role.distilled else " and ".join(role.excludes)
            what = "distilled" if role.distilled else "a model trained alone"
            raise ValueError(f"claim {self.id!r} is {what} ({self.role}); leave out {allowed}")
        for part in role.requires:
            if getattr(self, part) is None:
                raise ValueError(f"claim {self.id!r} names no {part}; add it")
        return self

    @model_validator(mode="after")
    def _says_who_claims_it(self) -> Claim:
        foreign = all(source.provenance == "secondary" for source in self.sources)
        if foreign and self.claimed_by is None:
            raise ValueError(f"claim {self.id!r} is printed only by others; say in 'claimed_by' whose it is")
        if self.claimed_by is not None and not foreign:
            raise ValueError(f"claim {self.id!r} is printed by its own paper; leave out 'claimed_by'")
        return self

    @model_validator(mode="after")
    def _says_whose_settings_it_follows(self, info: ValidationInfo) -> Claim:
        made_here = self.judged and _role(self.role, info).distilled
        if self.unreleased and not made_here:
            raise ValueError(
                f"claim {self.id!r} ({self.role}) is not distilled here; leave out what is unreleased"
            )
        if (self.follows or self.settings_of) and not made_here:
            raise ValueError(
                f"claim {self.id!r} ({self.role}) is not distilled here; leave out whose settings"
            )
        if self.follows and self.settings_of:
            raise ValueError(f"claim {self.id!r} says twice whose settings it uses; leave out 'follows'")
        choice = made_here and len(self.hyperparameters) > 1 and not self.settings_of
        if choice and not self.follows:
            stated = " and ".join(self.hyperparameters)
            raise ValueError(f"claim {self.id!r} has settings in {stated}; say in 'follows' which it uses")
        if self.follows and not choice:
            raise ValueError(f"claim {self.id!r} has no choice of settings; leave out 'follows'")
        return self


def _role(name: str, info: ValidationInfo) -> Role:
    """The role with this name, from the files that the claim is read with."""
    roles: Mapping[str, Role] = (info.context or {}).get("role") or load_roles()
    return roles[name]


class Protocol(Strict):
    """Settings that were stated or released without a result.

    Attributes:
        row: id of the row.
        table: id of its table.
        provenance: text of the paper, README, released config or code, or a third party.
        applies_to: ids of the claims on that pair and method.
        method: as the source names it.
        teacher: in words; None if the source names none.
        student: in words; None if the source names none.
        dataset: given if the table covers several.
        hyperparameters: by their names in the source.
        upstream_config: path in the official repository.
        source: the document, if it is not the table's.
        discrepancies: ids of the paper's discrepancies that concern it.
        note: what a reader must know.
    """

    row: str
    table: str
    provenance: Literal["paper", "readme", "config", "secondary"]
    applies_to: list[str] = []
    method: str
    teacher: str | None = None
    student: str | None = None
    dataset: DatasetName | None = None
    hyperparameters: Settings
    upstream_config: str | None = None
    source: str | None = None
    discrepancies: list[str] = []
    note: str | None = None


class Models(Strict):
    """The models that a number is about.

    Attributes:
        teacher: model id; None if the student learns without one.
        student: model id; None for a teacher alone.
    """

    teacher: str | None = None
    student: str | None = None


class Quoted(Strict):
    """A number that somebody else printed. Never judged.

    Attributes:
        row: id of the row.
        table: id of its table.
        kind: another method's number, a run by somebody else, or a claim as others quote it.
        about: id of the claim that it concerns.
        models: the models that it is about, if it concerns no claim; the data set is then that of its table.
        method: as the source names it; None for a model trained alone.
        teacher: in words.
        student: in words.
        metrics: the numbers; empty if only gains or words were printed.
        gains: gains over the student alone.
        teacher_metrics: accuracy of the teacher that the source prints alongside.
        student_metrics: accuracy of the student alone that the source prints alongside.
        hyperparameters: document that states them -> hyper-parameters; ``stated`` is the source itself.
        upstream_config: path in the official repository.
        source: the document, if it is not the table's.
        discrepancies: ids of the paper's discrepancies that concern it.
        note: what a reader must know.
    """

    row: str
    table: str
    kind: Literal["rival", "reproduction", "quotation"]
    about: str | None = None
    models: Models | None = None
    method: str | None = None
    teacher: str | None = None
    student: str | None = None
    metrics: Numbers = {}
    gains: Numbers = {}
    teacher_metrics: NumbersBySetting = {}
    student_metrics: NumbersBySetting = {}
    hyperparameters: dict[Literal["stated", "paper", "released_config"], Settings] = {}
    upstream_config: str | None = None
    source: str | None = None
    discrepancies: list[str] = []
    note: str | None = None

    @model_validator(mode="after")
    def _is_about_one_thing(self) -> Quoted:
        if self.about and self.models:
            raise ValueError(f"row {self.row!r} is about {self.about!r} and its models; leave out 'models'")
        return self


class Discrepancy(Strict):
    """Published sources that contradict each other. Claims, protocols and quoted rows name it.

    Attributes:
        id: unique over all papers.
        title: the contradiction in one line.
        text: what each source says.
        sources: the documents.
    """

    id: str
    title: str
    text: str
    sources: list[str]


class Gap(Strict):
    """Numbers known to exist that are missing here.

    Attributes:
        table: the table that lacks them; None if nothing of their table is here.
        text: what is missing.
    """

    table: str | None = None
    text: str


class Paper(Strict):
    """``claims.yaml`` of one folder: a paper, or a family of papers with one repository.

    Attributes:
        id: name of the folder, and what ``--paper`` takes.
        title: of the work.
        venue: where it was published.
        arxiv: arXiv numbers.
        code: official repository on GitHub.
        versions: key -> version of a document that sources refer to.
        tables: where rows come from.
        claims: the published numbers.
        protocols: settings without a number.
        quoted: numbers of others.
        discrepancies: contradictions between sources.
        gaps: what is missing.
    """

    id: str
    title: str
    venue: str
    arxiv: list[str]
    code: str
    versions: dict[str, str]
    tables: list[Table]
    claims: list[Claim]
    protocols: list[Protocol] = []
    quoted: list[Quoted] = []
    discrepancies: list[Discrepancy] = []
    gaps: list[Gap] = []

    def table(self, name: str) -> Table:
        """The table with this id.

        Raises:
            KeyError: there is none; ids inside a loaded paper always exist.
        """
        return _by_id(self.tables, name)

    def discrepancy(self, name: str) -> Discrepancy:
        """The discrepancy with this id.

        Raises:
            KeyError: there is none; ids inside a loaded paper always exist.
        """
        return _by_id(self.discrepancies, name)

    def claims_with(self, discrepancy: str) -> list[Claim]:
        """The claims that a discrepancy concerns."""
        return [claim for claim in self.claims if discrepancy in claim.discrepancies]

    def protocols_of(self, claim: str) -> list[Protocol]:
        """The settings that apply to a claim."""
        return [protocol for protocol in self.protocols if claim in protocol.applies_to]

    def settings(self, claim: Claim) -> Settings:
        """The published hyper-parameters that a claim's recipe uses, by their names in the source.

        If the claim is a variation of another claim (`Claim.settings_of`), they are those of the other one,
        without the variation itself.
        """
        if claim.settings_of:
            claim = next(other for other in self.claims if other.id == claim.settings_of)
        document = claim.follows or next(iter(claim.hyperparameters), None)
        return dict(claim.hyperparameters[document]) if document else {}

    def quoted_about(self, claim: str) -> list[Quoted]:
        """What others printed about a claim."""
        return [quoted for quoted in self.quoted if quoted.about == claim]

    def document(self, row: Protocol | Quoted) -> str:
        """The document that a row was seen in."""
        return row.source or self.table(row.table).source


def _by_id(entries: list[_Named], name: str) -> _Named:
    for entry in entries:
        if entry.id == name:
            return entry
    raise KeyError(name)
