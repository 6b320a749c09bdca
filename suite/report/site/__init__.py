"""Writes the site: a self-contained folder of pages on all papers, claims and runs, from the records.

It works from a local disk and without scripts. The same records give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from suite.errors import SuiteError
from suite.published.claims import Paper
from suite.report.addresses import ASSETS, CLAIMS, CONFIGS, RUNS
from suite.report.html import GENERATOR, environment
from suite.report.layout import NOTES, Cell, plain
from suite.report.site.blocks import Sheet
from suite.report.site.claim import claim_sheet
from suite.report.site.paper import index_sheet, paper_sheet
from suite.report.site.run import config_sheet, run_sheet
from suite.report.site.world import World
from suite.store.files import write
from suite.store.run_folders import RunFolder
from suite.store.scalars import SCALARS
from suite.store.summaries import Evidence

HERE: Final = Path(__file__).parent
STATIC: Final = ("site.css", "site.js")
_LOG_BYTES: Final = 16 * 1024
"""How much of the end of a log is copied; the whole log may be many megabytes."""


def write_site(
    folder: Path,
    papers: Sequence[Paper],
    records: Sequence[Evidence],
    store: Path,
    work: Path,
    profiles: Sequence[str] = (),
) -> World:
    """Writes the site; each file is replaced atomically, and an unchanged one is left alone.

    Pages of an earlier site that no longer belong to it are deleted.

    Args:
        folder: folder to write to.
        papers: all of them.
        records: the store, in any order.
        store: its folder.
        work: the work folder, where the logs are.
        profiles: profiles to show for every paper, besides those that have records of it.

    Returns:
        What the site shows.

    Raises:
        SuiteError: a record cannot be read, or a file of the published data is wrong.
        OSError: the folder cannot be written to.
    """
    world = World(papers, records, store, profiles)
    written: set[Path] = set()
    for name, content in _files(world, store, work):
        path = folder / name
        # A page can be regenerated at any time, and there are hundreds.
        write(path, content, synced=False)
        written.add(path)
    for kind in (CLAIMS, RUNS, CONFIGS):
        _sweep(folder / kind, written)
    return world


def _files(world: World, store: Path, work: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of the site, with its name."""
    for name in STATIC:
        yield f"{ASSETS}/{name}", (HERE / name).read_bytes()
    for sheet in _sheets(world):
        yield sheet.path, to_html(sheet).encode("utf-8", "replace")
    for run in world.standing.values():
        files = list(_files_of(run, store, work))
        yield from ((cell.link, content) for cell, content in files)
        sheet = run_sheet(world, run, [cell for cell, _ in files])
        yield sheet.path, to_html(sheet).encode("utf-8", "replace")


def _sheets(world: World) -> Iterator[Sheet]:
    yield index_sheet(world)
    yield from map(paper_sheet, world.reports)
    for paper in {one.paper.id: one.paper for one in world.reports}.values():
        yield from (claim_sheet(world, paper, claim) for claim in paper.claims)
    yield from (config_sheet(world, config, runs) for config, runs in world.runs_by_config())


def _files_of(run: Evidence, store: Path, work: Path) -> Iterator[tuple[Cell, bytes]]:
    """The end of the log of a run, and its scalars, if they exist."""
    stem = f"{RUNS}/{run.run_id}-{run.attempt:02d}"
    log = RunFolder(work, run.run_id).log
    if log.is_file():
        with open(log, "rb") as file:
            file.seek(max(0, log.stat().st_size - _LOG_BYTES))
            text = plain(file.read(_LOG_BYTES).decode("utf-8", "replace"))
        yield Cell("the end of its log", link=f"{stem}.txt"), text.encode("utf-8")
    if run.scalars_sha256 is not None:
        try:
            content = SCALARS.content(store, run)
        except SuiteError:
            # A missing or altered file is reported by the command that makes the report.
            return
        yield Cell("scalars, as JSON lines", link=f"{stem}.jsonl"), content


def to_html(sheet: Sheet) -> str:
    """Renders a page; every string of it is escaped."""
    return environment().get_template("sheet.html.j2").render(sheet=sheet, notes=NOTES)


def _sweep(folder: Path, written: set[Path]) -> None:
    """Deletes pages of an earlier site, and no other files."""
    for path in sorted(folder.glob("*.html")):
        if path not in written and path.is_file() and not path.is_symlink():
            with open(path, "rb") as file:
                ours = GENERATOR.encode() in file.read(1024)
            if ours:
                for beside in (path, path.with_suffix(".txt"), path.with_suffix(".jsonl")):
                    beside.unlink(missing_ok=True)
