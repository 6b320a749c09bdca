"""Web addresses of published papers and repositories."""

from __future__ import annotations


def on_arxiv(number: str) -> str:
    """The address of a paper's page on arXiv."""
    return f"https://arxiv.org/abs/{number}"


def on_github(repository: str, path: str = "") -> str:
    """The address of a repository on GitHub, or of a page in it.

    Args:
        repository: ``owner/name``.
        path: of the page within it, such as ``issues/8``.
    """
    return f"https://github.com/{repository}{path and '/'}{path}"
