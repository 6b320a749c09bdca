"""Reads the claims of all papers and refuses inconsistent ids, references, numbers and recipes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from suite.catalogue import CLAIMS, Catalogue
from suite.errors import SuiteError, did_you_mean
from suite.published.claims import Claim, Metric, Paper
from suite.published.datasets import read_dataset_names
from suite.published.literature import Literature, PairRows, Row, read_literature
from suite.published.metrics import MetricKind, read_metrics
from suite.published.models import read_models
from suite.published.names import Known
from suite.published.recipes import Recipe, read_recipes
from suite.published.roles import Role, read_roles
from suite.published.tasks import read_tasks
from suite.strict_yaml import Location, line_of, parse, refuse, shown


def read_papers(shared: Path, outside: tuple[Path, ...] = ()) -> dict[str, Paper]:
    """Reads and checks ``claims.yaml`` of every paper folder.

    Args:
        shared: laid out like ``baselines/``.
        outside: paper folders elsewhere.

    Raises:
        SuiteError: for the first fault; names file and line.
    """
    files = Catalogue(shared, outside).in_papers(CLAIMS)
    if not files:
        raise SuiteError(
            f"{shown(shared / 'papers')}: no papers here; restore the folder from the repository"
        )
    roles = read_roles(shared, outside)
    metrics = read_metrics(shared, outside)
    names: Known = {
        "metric": metrics,
        "task": read_tasks(shared, outside),
        "data set": read_dataset_names(shared, outside),
        "role": roles,
    }
    papers = {path: parse(Paper, path, names) for path in files}
    for path, paper in papers.items():
        if paper.id != path.parent.name:
            text = f"paper {paper.id!r} is in folder {path.parent.name!r}; name the folder {paper.id}"
            refuse(path, ("id",), text)
    literature = _literature_of(papers.values(), shared, outside)
    _refuse_duplicates(papers, literature)
    recipes = read_recipes(shared, outside)
    claims = {claim.id: claim for paper in papers.values() for claim in paper.claims}
    known = {"model": set(read_models(shared, outside)), "recipe": set(recipes), "claim": set(claims)}
    taken = {row.row: (document, pair, row) for document, pair, row in literature.rows()}
    for path, paper in papers.items():
        _refuse_dangling(path, paper, known, set(taken))
        for location, text in (
            *_contradictions(paper, claims, roles),
            *_taken_wrongly(paper, literature, taken),
            *_without_a_dataset(paper),
            *_wrong_recipes(paper, recipes, roles),
        ):
            refuse(path, location, text)
    return {paper.id: _with_the_literature(paper, literature, taken, metrics) for paper in papers.values()}


Taken = Mapping[str, tuple[str, PairRows, Row]]
"""Id of a row of the literature -> its document, its pair, and the row."""


def _with_the_literature(
    paper: Paper, literature: Literature, rows: Taken, kinds: Mapping[str, MetricKind]
) -> Paper:
    """The paper with its claims completed from the literature rows that they take numbers from.

    The gain of such a claim is over the student of the same document: the paper may print another student,
    and nobody claims the difference to that one. A claim also gets the discrepancies of its rows.
    """
    claims = [_with_its_rows(claim, rows, kinds) for claim in paper.claims]
    own = {discrepancy.id for discrepancy in paper.discrepancies}
    named = dict.fromkeys(name for claim in claims for name in claim.discrepancies if name not in own)
    contradictions = [*paper.discrepancies, *(literature.discrepancy(name) for name in named)]
    return paper.model_copy(update={"claims": claims, "discrepancies": contradictions})


def _with_its_rows(claim: Claim, rows: Taken, kinds: Mapping[str, MetricKind]) -> Claim:
    """A claim with gains and discrepancies from the literature rows that it takes over; others unchanged."""
    found = [rows[source.row][1:] for source in claim.sources if source.is_one_of(rows)]
    if not found:
        return claim
    alone = {name: number for pair, _ in found for name, number in pair.student_metrics.items()}
    more = dict.fromkeys(name for _, row in found for name in row.discrepancies)
    return claim.model_copy(
        update={
            "metrics": _gaining_over(claim, alone, kinds),
            "discrepancies": [*claim.discrepancies, *more],
        }
    )


def _gaining_over(
    claim: Claim, alone: Mapping[str, str], kinds: Mapping[str, MetricKind]
) -> dict[str, Metric]:
    """The metrics of a claim with its gains over a student alone; printed gains are kept."""
    return {
        name: metric
        if metric.gain is not None or name not in alone
        else metric.model_copy(update={"gain": float(kinds[name].printed_gain(str(metric), alone[name]))})
        for name, metric in claim.metrics.items()
    }


def _names(paper: Paper, literature: Collection[str]) -> Iterator[tuple[str, str, Location]]:
    """Everything that has to be unique: kind, name and location.

    Args:
        paper: one paper.
        literature: ids of the rows of the literature, which claims may take over.
    """
    yield "papers", paper.id, ("id",)
    for group in ("tables", "claims", "discrepancies"):
        for index, entry in enumerate(getattr(paper, group)):
            yield group, entry.id, (group, index, "id")
    for index, claim in enumerate(paper.claims):
        for position, source in enumerate(claim.sources):
            if not source.is_one_of(literature):
                yield "rows", source.row, ("claims", index, "sources", position, "row")
    for group in ("protocols", "quoted"):
        for index, entry in enumerate(getattr(paper, group)):
            yield "rows", entry.row, (group, index, "row")


def _literature_of(papers: Iterable[Paper], shared: Path, outside: tuple[Path, ...]) -> Literature:
    """The literature if a claim may take a number from it; else an empty one, since reading it is slow."""
    provenances = {
        source.provenance for paper in papers for claim in paper.claims for source in claim.sources
    }
    return read_literature(shared, outside) if "secondary" in provenances else Literature()


def _refuse_duplicates(papers: dict[Path, Paper], literature: Literature) -> None:
    seen: dict[tuple[str, str], tuple[Path, Location]] = {}
    rows = {row.row for _, _, row in literature.rows()}
    for path, paper in papers.items():
        for kind, name, location in _names(paper, rows):
            if kind == "rows" and name in rows:
                refuse(path, location, f"id {name!r} is already in use in the literature; give it another")
            if (kind, name) in seen:
                first, place = seen[kind, name]
                where = f"{shown(first)}:{line_of(first, place)}"
                refuse(
                    path,
                    location,
                    f"id {name!r} is already in use ({kind}, {where}); give one of them another",
                )
            seen[kind, name] = (path, location)


def _references(paper: Paper, literature: Collection[str]) -> Iterator[tuple[str, str | None, Location]]:
    """Everything that has to exist: kind, name and the location of the reference.

    `literature` is as for `_names`.
    """
    for i, claim in enumerate(paper.claims):
        at: Location = ("claims", i)
        yield "model", claim.teacher, (*at, "teacher")
        yield "model", claim.student, (*at, "student")
        yield "claim", claim.baseline, (*at, "baseline")
        yield "claim", claim.teacher_claim, (*at, "teacher_claim")
        yield "recipe", claim.recipe, (*at, "recipe")
        yield "claim", claim.settings_of, (*at, "settings_of")
        for j, source in enumerate(claim.sources):
            if not source.is_one_of(literature):
                yield "table", source.table, (*at, "sources", j, "table")
            yield "version", source.version, (*at, "sources", j, "version")
    for i, protocol in enumerate(paper.protocols):
        yield "table", protocol.table, ("protocols", i, "table")
        for j, name in enumerate(protocol.applies_to):
            yield "claim", name, ("protocols", i, "applies_to", j)
    for i, quoted in enumerate(paper.quoted):
        yield "table", quoted.table, ("quoted", i, "table")
        yield "claim", quoted.about, ("quoted", i, "about")
        if quoted.models:
            yield "model", quoted.models.teacher, ("quoted", i, "models", "teacher")
            yield "model", quoted.models.student, ("quoted", i, "models", "student")
    for i, gap in enumerate(paper.gaps):
        yield "table", gap.table, ("gaps", i, "table")
    for group in ("claims", "protocols", "quoted"):
        for i, entry in enumerate(getattr(paper, group)):
            for j, name in enumerate(entry.discrepancies):
                yield "discrepancy", name, (group, i, "discrepancies", j)


def _refuse_dangling(
    path: Path, paper: Paper, everywhere: dict[str, set[str]], literature: Collection[str]
) -> None:
    known = {
        **everywhere,
        "table": {table.id for table in paper.tables},
        "version": set(paper.versions),
        "discrepancy": {discrepancy.id for discrepancy in paper.discrepancies},
    }
    named: set[str] = set()
    for kind, name, location in _references(paper, literature):
        if name is not None and name not in known[kind]:
            close = f"{did_you_mean(name, known[kind])}, or " if known[kind] else ""
            refuse(path, location, f"there is no {kind} {name!r}; {close}add it")
        if kind == "discrepancy" and name is not None:
            named.add(name)
    for index, discrepancy in enumerate(paper.discrepancies):
        if discrepancy.id not in named:
            at = ("discrepancies", index, "id")
            refuse(
                path,
                at,
                f"discrepancy {discrepancy.id!r} is not referred to anywhere; name it where it belongs",
            )


def _contradictions(
    paper: Paper, claims: dict[str, Claim], roles: dict[str, Role]
) -> Iterator[tuple[Location, str]]:
    """Finds numbers that no source prints, printed numbers that no claim has, and wrong references."""
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
                    text = (
                        f"{name} is printed here but is not a metric of {claim.id!r}; add it to its metrics"
                    )
                    yield (*at, "sources", position), text
        if claim.baseline:
            other = claims[claim.baseline]
            alone = (roles[other.role].arm, other.student, other.dataset)
            if alone != ("student", claim.student, claim.dataset):
                text = (
                    f"{claim.baseline!r} is not {claim.student} alone on {claim.dataset}; name that baseline"
                )
                yield (*at, "baseline"), text
        if claim.teacher_claim:
            other = claims[claim.teacher_claim]
            alone = (roles[other.role].arm, other.teacher, other.dataset)
            if alone != ("teacher", claim.teacher, claim.dataset):
                text = (
                    f"{claim.teacher_claim!r} is not an accuracy of {claim.teacher}; name that teacher's "
                    "claim"
                )
                yield (*at, "teacher_claim"), text
        if claim.settings_of:
            text = (
                f"{claim.settings_of!r} has no settings for {claim.id!r}; name a result of this paper that "
                "has them"
            )
            lenders = (own.id for own in paper.claims if roles[own.role].own and _lends_settings(own, claim))
            if claim.settings_of not in lenders:
                yield (*at, "settings_of"), text


def _taken_wrongly(paper: Paper, literature: Literature, rows: Taken) -> Iterator[tuple[Location, str]]:
    """Finds sources that name a row of the literature and differ from it."""
    for index, claim in enumerate(paper.claims):
        for position, source in enumerate(claim.sources):
            if not source.is_one_of(rows):
                continue
            at: Location = ("claims", index, "sources", position)
            name, pair, row = rows[source.row]
            if source.table != name:
                yield (*at, "table"), f"row {row.row!r} is of {name!r}; name that as the table"
            about = (pair.teacher, pair.student, literature.documents[name].dataset)
            # For a network that is its own teacher, documents name none.
            teacher = claim.teacher if pair.teacher or claim.teacher != claim.student else None
            if about != (teacher, claim.student, claim.dataset):
                yield (
                    (*at, "row"),
                    f"row {row.row!r} is not about the models of {claim.id!r}; name another row",
                )
            if (source.printed, source.gains) != (row.metrics, row.gains):
                yield (*at, "row"), f"row {row.row!r} of the literature has other numbers; write those"


def _without_a_dataset(paper: Paper) -> Iterator[tuple[Location, str]]:
    """Finds quoted numbers of models whose table does not determine the data set."""
    for index, quoted in enumerate(paper.quoted):
        if quoted.models and len(paper.table(quoted.table).datasets) != 1:
            text = (
                f"table {quoted.table!r} has several data sets; say with 'about' what {quoted.row!r} concerns"
            )
            yield ("quoted", index, "models"), text


def _lends_settings(own: Claim, to: Claim) -> bool:
    """Whether a claim has settings of its own, for the student of the other."""
    same = (own.student, own.dataset) == (to.student, to.dataset)
    return same and bool(own.hyperparameters) and own.settings_of is None


def _wrong_recipes(
    paper: Paper, recipes: dict[str, Recipe], roles: dict[str, Role]
) -> Iterator[tuple[Location, str]]:
    """Finds claims whose recipe trains something else than they claim."""
    for index, claim in enumerate(paper.claims):
        if claim.recipe is None:
            continue
        recipe = recipes[claim.recipe]
        made = _in_words(recipe.task, recipe.student, recipe.teacher, recipe.method is not None)
        role = roles[claim.role]
        alone = not role.distilled
        trained = claim.teacher if role.arm == "teacher" else claim.student
        claimed = _in_words(claim.task, trained, None if alone else claim.teacher, not alone)
        if made != claimed:
            text = f"recipe {claim.recipe!r} makes {made}, but the claim is {claimed}; name a recipe for that"
            yield ("claims", index, "recipe"), text


def _in_words(task: str, student: str | None, teacher: str | None, distilled: bool) -> str:
    """What a recipe trains, or a claim is about, in words."""
    how = f"distilled{f' from {teacher}' if teacher else ''}" if distilled else "alone"
    return f"{student} {how} ({task.replace('_', ' ')})"
