"""Where published documents and repositories are found."""

from __future__ import annotations


def on_arxiv(number: str) -> str:
    """The page of a paper, by its arXiv number."""
    return f"https://arxiv.org/abs/{number}"


def on_github(repository: str, path: str = "") -> str:
    """A repository, ``owner/name``, or a page of it.

    Args:
        repository: whose.
        path: of the page below it, such as ``issues/8``.
    """
    return f"https://github.com/{repository}{path and '/'}{path}"
