"""What was published: papers, tables and claims, read from ``baselines/claims/`` and findable by name.

A **claim** is one number, or one row of numbers, that a paper or its official README prints: method,
teacher, student, metrics. A number that abstract, README and a table print alike is one claim with several
sources. Settings in the text, the configs and the code are **protocols**; what anybody else printed about the
methods is **quoted** and never judged. Published sources that contradict each other are **discrepancies**,
numbers known to exist that are not here are **gaps**.

Every file is refused, with file and line, when it has a key that this module does not know, an id twice, a
number that no source prints, or a reference that points nowhere.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from suite import paths
from suite.errors import SuiteError, did_you_mean
from suite.models import Dataset, Task, read_models
from suite.recipes import Recipe, read_recipes
from suite.strict_yaml import Location, Number, line_of, parse, refuse, shown

Role = Literal["teacher", "baseline", "ours", "rival", "ablation"]
MetricName = Literal[
    "top1", "top5",
    "box_AP", "box_AP_S", "box_AP_M", "box_AP_L", "box_AR", "box_AR_S", "box_AR_M", "box_AR_L",
    "mask_AP", "mask_AP_S", "mask_AP_M", "mask_AP_L",
    "mIoU",
]  # fmt: skip
"""Metrics, all in percent: ImageNet and CIFAR accuracy, COCO AP and AR (also by object size), mean IoU."""

TableKind = Literal[
    "paper_table", "headline", "paper_table_partial", "paper_table_secondary", "paper_figure_partial",
    "repo_table", "hyperparameters", "teachers", "quoted_by_others", "reproduction",
]  # fmt: skip

_Named = TypeVar("_Named", "Table", "Discrepancy")

ROLES: tuple[str, ...] = get_args(Role)
_DISTILLED = ("ours", "ablation")
"""Roles of the claims that a distilled student is held against."""

METRICS: tuple[str, ...] = get_args(MetricName)


def _as_setting(value: Any) -> Any:
    if not isinstance(value, bool | int | float | str):
        raise ValueError(f"{value!r} is no setting; write a number, a word, true or false")
    return value


Setting = bool | int | float | str
Settings = dict[str, Annotated[Setting, BeforeValidator(_as_setting)]]
"""Hyper-parameters by the name that their source gives them."""

Document = Literal["paper", "released_config"]
"""Where hyper-parameters of a claim are stated."""


def _as_printed(number: Any) -> str:
    """A number with the digits that were printed."""
    text = number.text if isinstance(number, Number) else str(number)
    if isinstance(number, bool) or not re.fullmatch(r"-?\d+(\.\d+)?", text):
        raise ValueError(f"{text!r} is no number as papers print them; write it like 69.90")
    return text


Printed = Annotated[str, BeforeValidator(_as_printed)]
"""A number as it was printed, trailing zeros included."""

Numbers = dict[MetricName, Printed]
NumbersBySetting = dict[Annotated[str, Field(pattern=rf"^({'|'.join(METRICS)})(@\w+)?$")], Printed]
"""Numbers by metric; ``box_AP@2x`` where one source prints the metric for several settings."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Table(_Strict):
    """A table, figure, abstract or collection that rows were taken from.

    Attributes:
        id: unique over all papers.
        title: what it is about.
        number: as the paper counts it.
        kind: table or figure of a paper, abstract, README, settings, or numbers of others.
        tasks: what its rows are about.
        datasets: where its numbers were measured.
        complete: False where rows are known to be missing, or cannot be known to be all.
        source: the document.
        protocol: how its numbers were made, as far as the source says.
    """

    id: str
    title: str
    number: str | None = None
    kind: TableKind
    tasks: list[Task]
    datasets: list[Dataset]
    complete: bool
    source: str
    protocol: str | None = None


class Source(_Strict):
    """A place that prints a claim.

    Attributes:
        row: id of the row, unique over all papers.
        table: id of its table.
        provenance: seen in the paper (text or abstract), in the official README, or, as a number of the
            paper or of its author, in a thread of the official repository that the author answered.
        where: the place in words.
        version: which version of the document (a key of `Paper.versions`).
        printed: the numbers that this place prints, which may differ from those of the claim.
        gains: the gains over the student alone that it prints.
    """

    row: str
    table: str
    provenance: Literal["paper", "readme", "thread"]
    where: str
    version: str | None = None
    printed: Numbers = {}
    gains: Numbers = {}


class Metric(_Strict):
    """A claimed number. In a file it is a bare number, ``top1: 71.96``.

    Attributes:
        value: percent.
        decimals: how many were printed.
        gain: over the student alone, percent points; None where no source prints it.
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


class Claim(_Strict):
    """What a paper says it measured.

    Attributes:
        id: unique over all papers.
        role: what the number is for the paper; a rival's is only quoted by it.
        method: name of the method; None for a model trained alone (roles teacher and baseline).
        task: what the student does.
        dataset: where it was measured.
        teacher: model id; None for a student alone and for methods without a teacher.
        student: model id; None for a teacher.
        metrics: the claimed numbers.
        baseline: claim id of the student trained alone.
        teacher_claim: claim id of the teacher's accuracy, where the paper prints it.
        recipe: id in ``baselines/recipes/``: how the number is made; None where nobody makes it here.
        hyperparameters: by where they stand; text and released config may differ.
        follows: which of the two the recipe takes; there exactly where both state them and the recipe
            takes the claim's own.
        settings_of: claim id whose hyper-parameters the recipe takes, for a row that varies one of them or
            a part of the method and is comparable with that claim only if all others are the same.
        upstream_config: path in the official repository.
        sources: every place that prints the claim, the paper first.
        discrepancies: ids of the paper's discrepancies that concern it.
        note: what a reader must know.
    """

    id: str
    role: Role
    method: str | None = None
    task: Task
    dataset: Dataset
    teacher: str | None = None
    student: str | None = None
    metrics: dict[MetricName, Metric]
    baseline: str | None = None
    teacher_claim: str | None = None
    recipe: str | None = None
    hyperparameters: dict[Document, Settings] = {}
    follows: Document | None = None
    settings_of: str | None = None
    upstream_config: str | None = None
    sources: list[Source]
    discrepancies: list[str] = []
    note: str | None = None

    @property
    def judged(self) -> bool:
        """Whether records are held against it: not where the paper itself only quotes a rival."""
        return self.role != "rival"

    @property
    def label(self) -> str:
        """The method in words, also where there is none."""
        return self.method or f"{'teacher' if self.role == 'teacher' else 'student'} alone"

    @model_validator(mode="before")
    @classmethod
    def _take_gains_from_sources(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or not isinstance(raw.get("metrics"), dict):
            return raw
        gains: dict[str, float] = {}
        for source in raw.get("sources") or []:
            if isinstance(source, dict) and isinstance(source.get("gains"), dict):
                gains = {**source["gains"], **gains}
        numbers = {
            name: {"printed": number, "gain": gains.get(name)} for name, number in raw["metrics"].items()
        }
        return {**raw, "metrics": numbers}

    @model_validator(mode="after")
    def _fits_its_role(self) -> Claim:
        if not self.sources:
            raise ValueError(f"claim {self.id!r} has no source; say which row prints it")
        if not self.metrics:
            raise ValueError(f"claim {self.id!r} has no metrics; write its numbers")
        alone = {"teacher": self.student, "baseline": self.teacher}
        if self.role in alone and (self.method or self.baseline or alone[self.role]):
            raise ValueError(
                f"claim {self.id!r} is a model trained alone ({self.role}); leave out all but that model"
            )
        if (self.teacher if self.role == "teacher" else self.student) is None:
            raise ValueError(
                f"claim {self.id!r} names no {self.role if self.role == 'teacher' else 'student'}; add it"
            )
        if self.role not in alone and not self.method:
            raise ValueError(f"claim {self.id!r} names no method; add it")
        return self

    @model_validator(mode="after")
    def _says_whose_settings_it_follows(self) -> Claim:
        if (self.follows or self.settings_of) and self.role not in _DISTILLED:
            raise ValueError(
                f"claim {self.id!r} ({self.role}) is not distilled here; leave out whose settings"
            )
        if self.follows and self.settings_of:
            raise ValueError(f"claim {self.id!r} says twice whose settings it takes; leave out 'follows'")
        choice = self.role in _DISTILLED and len(self.hyperparameters) > 1 and not self.settings_of
        if choice and not self.follows:
            stated = " and ".join(self.hyperparameters)
            raise ValueError(f"claim {self.id!r} has settings in {stated}; say in 'follows' which it takes")
        if self.follows and not choice:
            raise ValueError(f"claim {self.id!r} has no choice of settings; leave out 'follows'")
        return self


class Protocol(_Strict):
    """Settings that were stated or released, without a number.

    Attributes:
        row: id of the row.
        table: id of its table.
        provenance: text of the paper, README, released config or code, or a third party.
        applies_to: the claims of that pair and method.
        method: as the source names it.
        teacher: in words; None where the source names none.
        student: in words; None where the source names none.
        dataset: where the table covers several.
        hyperparameters: by the names of the source.
        upstream_config: path in the official repository.
        source: the document, where it is another than the table's.
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
    dataset: Dataset | None = None
    hyperparameters: Settings
    upstream_config: str | None = None
    source: str | None = None
    discrepancies: list[str] = []
    note: str | None = None


class Quoted(_Strict):
    """A number that somebody else printed. Never judged.

    Attributes:
        row: id of the row.
        table: id of its table.
        kind: another method's number, a run of somebody else, or a claim as others quote it.
        about: id of the claim that it concerns.
        method: as the source names it; None for a model trained alone.
        teacher: in words.
        student: in words.
        metrics: the numbers; empty where only gains or words were printed.
        gains: gains over the student alone.
        teacher_metrics: accuracy of the teacher that the source prints beside.
        student_metrics: accuracy of the student alone that the source prints beside.
        hyperparameters: by where they stand; ``stated`` is the source itself.
        upstream_config: path in the official repository.
        source: the document, where it is another than the table's.
        discrepancies: ids of the paper's discrepancies that concern it.
        note: what a reader must know.
    """

    row: str
    table: str
    kind: Literal["rival", "reproduction", "quotation"]
    about: str | None = None
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


class Discrepancy(_Strict):
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


class Gap(_Strict):
    """Numbers known to exist that are not here.

    Attributes:
        table: the table that lacks them; None where nothing of their table is here.
        text: what is missing.
    """

    table: str | None = None
    text: str


class Paper(_Strict):
    """One file of ``baselines/claims/``: a paper, or a family of papers with one repository.

    Attributes:
        id: name of the file, and what ``--paper`` takes.
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
        """The published hyper-parameters that a claim's recipe takes, under the names of their source.

        Where the claim varies another claim (`Claim.settings_of`), they are that claim's: what the row
        itself varies is not among them.
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


@functools.lru_cache(maxsize=1)
def load_papers() -> dict[str, Paper]:
    """Every paper by its id; read once a process.

    Raises:
        SuiteError: a file breaks the schema; names file and line.
    """
    return read_papers(paths.BASELINES)


def read_papers(folder: Path) -> dict[str, Paper]:
    """Reads and checks ``claims/*.yaml`` of a folder laid out like ``baselines/``.

    Raises:
        SuiteError: for the first fault; names file and line.
    """
    papers = {path: parse(Paper, path) for path in sorted((folder / "claims").glob("*.yaml"))}
    if not papers:
        raise SuiteError(
            f"{shown(folder / 'claims')}: no claims here; restore the folder from the repository"
        )
    _refuse_duplicates(papers)
    recipes = read_recipes(folder / "recipes")
    claims = {claim.id: claim for paper in papers.values() for claim in paper.claims}
    known = {"model": set(read_models(folder)), "recipe": set(recipes), "claim": set(claims)}
    for path, paper in papers.items():
        if paper.id != path.stem:
            refuse(path, ("id",), f"paper {paper.id!r} stands in {path.name}; name the file {paper.id}.yaml")
        _refuse_dangling(path, paper, known)
        for location, text in (*_contradictions(paper, claims), *_wrong_recipes(paper, recipes)):
            refuse(path, location, text)
    return {paper.id: paper for paper in papers.values()}


def find_paper(name: str) -> Paper:
    """The paper with this id.

    Raises:
        SuiteError: there is none; names those there are.
    """
    papers = load_papers()
    if name not in papers:
        raise SuiteError(f"unknown paper {name!r}; {did_you_mean(name, papers)}")
    return papers[name]


def find_claim(name: str) -> tuple[Paper, Claim]:
    """The claim with this id, and its paper.

    Raises:
        SuiteError: there is none; names the closest ones.
    """
    claims = {claim.id: (paper, claim) for paper in load_papers().values() for claim in paper.claims}
    if name not in claims:
        raise SuiteError(
            f"unknown claim {name!r}; {did_you_mean(name, claims)}; 'python -m suite list' has them all"
        )
    return claims[name]


def select(
    paper: str | None = None,
    table: str | None = None,
    claims: Iterable[str] = (),
    role: str | None = None,
) -> list[tuple[Paper, Claim]]:
    """The claims that fit every given filter, in the order of the files.

    Args:
        paper: id of a paper.
        table: id of a table, or its number in the paper; a claim fits when the table prints it.
        claims: ids of claims.
        role: a role.

    Raises:
        SuiteError: a name is unknown; says what was meant, or what there is.
    """
    papers = [find_paper(paper)] if paper else list(load_papers().values())
    chosen = [(owner, claim) for owner in papers for claim in owner.claims]
    if table:
        tables = {known.id for owner in papers for known in owner.tables if table in (known.id, known.number)}
        if not tables:
            ids = [known.id for owner in papers for known in owner.tables]
            raise SuiteError(f"unknown table {table!r}; {did_you_mean(table, ids)}")
        chosen = [pair for pair in chosen if any(source.table in tables for source in pair[1].sources)]
    if role:
        if role not in ROLES:
            raise SuiteError(f"unknown role {role!r}; {did_you_mean(role, ROLES)}")
        chosen = [pair for pair in chosen if pair[1].role == role]
    wanted = {find_claim(name)[1].id for name in claims}
    return [pair for pair in chosen if not wanted or pair[1].id in wanted]


def _by_id(entries: list[_Named], name: str) -> _Named:
    for entry in entries:
        if entry.id == name:
            return entry
    raise KeyError(name)


def _names(paper: Paper) -> Iterator[tuple[str, str, Location]]:
    """Everything that has to be unique: kind, name, and where it stands."""
    for group in ("tables", "claims", "discrepancies"):
        for index, entry in enumerate(getattr(paper, group)):
            yield group, entry.id, (group, index, "id")
    for index, claim in enumerate(paper.claims):
        for position, source in enumerate(claim.sources):
            yield "rows", source.row, ("claims", index, "sources", position, "row")
    for group in ("protocols", "quoted"):
        for index, entry in enumerate(getattr(paper, group)):
            yield "rows", entry.row, (group, index, "row")


def _refuse_duplicates(papers: dict[Path, Paper]) -> None:
    seen: dict[tuple[str, str], tuple[Path, Location]] = {}
    for path, paper in papers.items():
        for kind, name, location in _names(paper):
            if (kind, name) in seen:
                first, place = seen[kind, name]
                where = f"{shown(first)}:{line_of(first, place)}"
                refuse(
                    path,
                    location,
                    f"id {name!r} is already in use ({kind}, {where}); give one of them another",
                )
            seen[kind, name] = (path, location)


def _references(paper: Paper) -> Iterator[tuple[str, str | None, Location]]:
    """Everything that has to exist: kind, name, and where it is named."""
    for i, claim in enumerate(paper.claims):
        at: Location = ("claims", i)
        yield "model", claim.teacher, (*at, "teacher")
        yield "model", claim.student, (*at, "student")
        yield "claim", claim.baseline, (*at, "baseline")
        yield "claim", claim.teacher_claim, (*at, "teacher_claim")
        yield "recipe", claim.recipe, (*at, "recipe")
        yield "claim", claim.settings_of, (*at, "settings_of")
        for j, source in enumerate(claim.sources):
            yield "table", source.table, (*at, "sources", j, "table")
            yield "version", source.version, (*at, "sources", j, "version")
    for i, protocol in enumerate(paper.protocols):
        yield "table", protocol.table, ("protocols", i, "table")
        for j, name in enumerate(protocol.applies_to):
            yield "claim", name, ("protocols", i, "applies_to", j)
    for i, quoted in enumerate(paper.quoted):
        yield "table", quoted.table, ("quoted", i, "table")
        yield "claim", quoted.about, ("quoted", i, "about")
    for i, gap in enumerate(paper.gaps):
        yield "table", gap.table, ("gaps", i, "table")
    for group in ("claims", "protocols", "quoted"):
        for i, entry in enumerate(getattr(paper, group)):
            for j, name in enumerate(entry.discrepancies):
                yield "discrepancy", name, (group, i, "discrepancies", j)


def _refuse_dangling(path: Path, paper: Paper, everywhere: dict[str, set[str]]) -> None:
    known = {
        **everywhere,
        "table": {table.id for table in paper.tables},
        "version": set(paper.versions),
        "discrepancy": {discrepancy.id for discrepancy in paper.discrepancies},
    }
    named: set[str] = set()
    for kind, name, location in _references(paper):
        if name is not None and name not in known[kind]:
            close = f"{did_you_mean(name, known[kind])}, or " if known[kind] else ""
            refuse(path, location, f"there is no {kind} {name!r}; {close}add it")
        if kind == "discrepancy" and name is not None:
            named.add(name)
    for index, discrepancy in enumerate(paper.discrepancies):
        if discrepancy.id not in named:
            at = ("discrepancies", index, "id")
            refuse(path, at, f"discrepancy {discrepancy.id!r} concerns nothing; name it where it belongs")


def _contradictions(paper: Paper, claims: dict[str, Claim]) -> Iterator[tuple[Location, str]]:
    """Numbers that no source prints, printed numbers that no claim has, and references to the wrong thing."""
    for index, claim in enumerate(paper.claims):
        at: Location = ("claims", index)
        for name, metric in claim.metrics.items():
            if str(metric) not in {source.printed.get(name) for source in claim.sources}:
                yield (
                    (*at, "metrics", name),
                    f"no source of {claim.id!r} prints {name} {metric}; correct one of them",
                )
        for position, source in enumerate(claim.sources):
            for name in [*source.printed, *source.gains]:
                if name not in claim.metrics:
                    text = f"{name} is printed here but is no metric of {claim.id!r}; add it to its metrics"
                    yield (*at, "sources", position), text
        if claim.baseline:
            other = claims[claim.baseline]
            if (other.role, other.student, other.dataset) != ("baseline", claim.student, claim.dataset):
                text = (
                    f"{claim.baseline!r} is not {claim.student} alone on {claim.dataset}; name that baseline"
                )
                yield (*at, "baseline"), text
        if claim.teacher_claim:
            other = claims[claim.teacher_claim]
            if (other.role, other.teacher, other.dataset) != ("teacher", claim.teacher, claim.dataset):
                text = f"{claim.teacher_claim!r} is no accuracy of {claim.teacher}; name that teacher's claim"
                yield (*at, "teacher_claim"), text
        if claim.settings_of:
            text = (
                f"{claim.settings_of!r} has no settings for {claim.id!r}; name a row of 'ours' that has them"
            )
            if claim.settings_of not in {own.id for own in paper.claims if _lends_settings(own, claim)}:
                yield (*at, "settings_of"), text


def _lends_settings(own: Claim, to: Claim) -> bool:
    """Whether a claim has settings of its own, for the student of the other."""
    same = (own.student, own.dataset) == (to.student, to.dataset)
    return same and own.role == "ours" and bool(own.hyperparameters) and own.settings_of is None


def _wrong_recipes(paper: Paper, recipes: dict[str, Recipe]) -> Iterator[tuple[Location, str]]:
    """Claims whose recipe makes another number than theirs."""
    for index, claim in enumerate(paper.claims):
        if claim.recipe is None:
            continue
        recipe = recipes[claim.recipe]
        made = _in_words(recipe.task, recipe.student, recipe.teacher, recipe.method is not None)
        alone = claim.role in ("teacher", "baseline")
        trained = claim.teacher if claim.role == "teacher" else claim.student
        claimed = _in_words(claim.task, trained, None if alone else claim.teacher, not alone)
        if made != claimed:
            text = f"recipe {claim.recipe!r} makes {made}, the claim is {claimed}; name a recipe of that"
            yield ("claims", index, "recipe"), text


def _in_words(task: str, student: str | None, teacher: str | None, distilled: bool) -> str:
    """What a recipe makes or a claim is about."""
    how = f"distilled{f' from {teacher}' if teacher else ''}" if distilled else "alone"
    return f"{student} {how} ({task.replace('_', ' ')})"
