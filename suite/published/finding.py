"""Finds papers and claims by name, and selects claims by paper, table, role or id."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from suite.catalogue import Catalogue, current
from suite.errors import SuiteError, did_you_mean
from suite.published.checks import read_papers
from suite.published.claims import Claim, Paper
from suite.published.roles import find_role


def load_papers() -> dict[str, Paper]:
    """Every paper by its id; read once per catalogue.

    Raises:
        SuiteError: a file breaks the schema; names file and line.
    """
    return _of(current())


@functools.lru_cache(maxsize=8)
def _of(catalogue: Catalogue) -> dict[str, Paper]:
    return read_papers(*catalogue)


def find_paper(name: str) -> Paper:
    """The paper with this id.

    Raises:
        SuiteError: there is none; names similar ones.
    """
    papers = load_papers()
    if name not in papers:
        raise SuiteError(f"unknown paper {name!r}; {did_you_mean(name, papers)}")
    return papers[name]


def claims_by_id() -> dict[str, Claim]:
    """Every claim of every paper by its id.

    Raises:
        SuiteError: a file breaks the schema; names file and line.
    """
    return {claim.id: claim for paper in load_papers().values() for claim in paper.claims}


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
    """The claims that match every given filter, in the order of the files.

    Args:
        paper: id of a paper.
        table: id of a table, or its number in the paper; a claim matches if the table prints it.
        claims: ids of claims.
        role: a role.

    Raises:
        SuiteError: a name is unknown; suggests similar ones, or lists what exists.
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
        find_role(role)
        chosen = [pair for pair in chosen if pair[1].role == role]
    wanted = {find_claim(name)[1].id for name in claims}
    return [pair for pair in chosen if not wanted or pair[1].id in wanted]
