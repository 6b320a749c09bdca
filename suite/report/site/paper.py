"""The page of a paper at one profile, and the index of all papers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from suite.report.addresses import INDEX, paper_page
from suite.report.answer import asked_rows, count_not_run, in_one_sentence
from suite.report.cells import NOTHING
from suite.report.figures.chapters import CURVES, SAMPLES
from suite.report.known import TITLE as KNOWN
from suite.report.layout import Cell, Grid, Line, Section, Tone
from suite.report.site import reproducibility
from suite.report.site.blocks import Chapter, Listing, Sheet
from suite.report.site.counts import counts_of
from suite.report.site.links import ISSUES, papers_of
from suite.report.site.published import table_chapters
from suite.report.site.world import PaperReport, World
from suite.report.tables import PublishedTables

INDEX_HEADINGS: Final = (
    *("paper", "profile", "judged", "hold", "deviate", "undecided", "alone", "failed", "never run"),
    *("contradictions", "by others"),
)
_INDEX_LEAD: Final = (
    "Each claim is a number that a paper or its README prints. Each row below counts the outcomes of the "
    "claims that have a recipe.",
    "A claim holds when its number is reproduced. On embedded data (profiles `mini`, `smoke`) no number can "
    "be reproduced, and a claim holds in sign only: its gain over the student is above zero. It deviates "
    "when the verdict is against it, and is undecided when the runs cannot tell. `alone` counts teachers and "
    "students without distillation, whose numbers count on published data only; `by others` counts numbers "
    "that somebody else measured or quotes.",
)


def index_sheet(world: World) -> Sheet:
    """The index of all papers, with what is known about each."""
    lines = tuple(map(_index_line, world.reports))
    return Sheet(
        path=INDEX,
        title="Can this distillation paper be reproduced?",
        lead=_INDEX_LEAD,
        chapters=(
            Chapter("Papers", grids=(Grid(INDEX_HEADINGS, lines),)),
            *(_about(one) for one in _first_of_each(world.reports)),
            Chapter(
                reproducibility.CONTACT,
                (f"Corrections, sources and your own results are welcome: {ISSUES}.",),
            ),
        ),
    )


def _first_of_each(reports: Sequence[PaperReport]) -> list[PaperReport]:
    return list({one.paper.id: one for one in reversed(reports)}.values())[::-1]


def _index_line(one: PaperReport) -> Line:
    counts, page = counts_of(one.rows), paper_page(one.report.name)
    by_others = sum(row["origin"] == "quoted" for row in one.rows)
    return Line(
        (
            Cell(one.paper.id.upper(), link=page),
            one.profile,
            str(counts.judged),
            _count(counts.holds, "good"),
            _count(counts.deviates, "bad"),
            _count(counts.undecided, "open"),
            str(counts.alone),
            str(counts.stopped),
            str(counts.not_run),
            Cell(str(len(one.paper.discrepancies)), link=f"{page}#what-is-contradicted"),
            str(by_others),
        )
    )


def _count(number: int, tone: Tone) -> Cell:
    return Cell(str(number), tone if number else None)


def _about(one: PaperReport) -> Chapter:
    """A paper in a few words, with links to its page and its documents."""
    answers = (section.remark for section in one.page.sections if section.title == KNOWN)
    return Chapter(
        f"{one.paper.id.upper()}: {one.paper.title} ({one.paper.venue})",
        paragraphs=(next(answers, in_one_sentence(asked_rows(one.rows, None), count_not_run(one.rows))),),
        points=(
            Cell("Tables, verdicts and sources", link=paper_page(one.report.name)),
            *papers_of(one.paper),
        ),
    )


def paper_sheet(one: PaperReport) -> Sheet:
    """The page of a paper at one profile."""
    page = one.page
    notes = PublishedTables(one.paper, one.rows)
    tables = tuple(table_chapters(one.paper, one.rows, page.sections, notes))
    first = next((number for number, section in enumerate(page.sections) if section.published), 0)
    before = [_as_chapter(section) for section in page.sections[:first]]
    after = [
        _as_chapter(section)
        for section in page.sections[first:]
        # Figures of a single claim are on its own page.
        if not section.published and section.title not in (CURVES, SAMPLES)
    ]
    return Sheet(
        path=paper_page(one.report.name),
        title=page.title,
        trail=(Cell("All papers", link=INDEX),),
        lead=(in_one_sentence(asked_rows(one.rows, None), count_not_run(one.rows)),),
        facts=(("profile", (one.profile,)), ("paper", papers_of(one.paper))),
        chapters=(
            *before,
            reproducibility.scope(one),
            *tables,
            *_kept(reproducibility.easy(one), reproducibility.difficult(one)),
            reproducibility.contradicted(one),
            *after,
            _reading(one),
            reproducibility.contact(one),
        ),
        footnotes=notes.footnotes(),
    )


def _kept(*chapters: Chapter) -> Iterator[Chapter]:
    return (chapter for chapter in chapters if chapter.points)


def _reading(one: PaperReport) -> Chapter:
    page = one.page
    shared = (
        ("Departures from the published protocols, shared by all rows:",) if page.shared_departures else ()
    )
    return Chapter(
        "How these numbers were made",
        paragraphs=(*page.paragraphs, *page.caption, *shared),
        points=page.shared_departures,
        listings=(Listing("To regenerate, run one of", "\n".join(page.commands)),),
    )


def _as_chapter(section: Section) -> Chapter:
    remark = (section.remark,) if section.remark and section.remark != NOTHING else ()
    return Chapter(section.title, remark, figures=section.figures, grids=section.grids)
