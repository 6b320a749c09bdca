"""Output options that most verbs share: where they print, how wide, and how much progress they report."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from suite.errors import SuiteError, printable

QUIET, NORMAL, VERBOSE = -1, 0, 1
"""How much progress is printed: only failures; the end of each run; also its start and every epoch."""


def add_verbosity(parser: argparse.ArgumentParser) -> None:
    """Adds `-v` and `-q`, which set `args.verbosity`."""
    add_quiet(parser)
    text = "more progress: the start, log and every epoch of each run"
    parser.add_argument(
        "-v", "--verbose", dest="verbosity", action="store_const", const=VERBOSE, default=NORMAL, help=text
    )


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Adds only `-q`, for verbs without more detailed progress."""
    text = "less progress: only what fails"
    parser.add_argument(
        "-q", "--quiet", dest="verbosity", action="store_const", const=QUIET, default=NORMAL, help=text
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    """Adds `--output`, which `printed_to` implements."""
    parser.add_argument(
        "--output",
        metavar="FILE",
        dest="output_file",
        type=Path,
        help="write to this file instead of standard output",
    )


@contextlib.contextmanager
def printed_to(file: Path | None) -> Iterator[None]:
    """Collects what is printed, writes it to a file in one atomic step, and prints the name of that file.

    If the verb fails, the file is left unchanged.

    Args:
        file: the file; None prints to standard output as usual.

    Raises:
        SuiteError: it cannot be written.
    """
    if file is None:
        yield
        return
    _refuse_special(file)
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        yield
    from suite.store.files import write

    try:
        # Write to the target of a link, and keep the link.
        write(Path(os.path.realpath(file)), text.getvalue().encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise SuiteError(f"cannot write {file} ({error.strerror}); name another file with --output") from None
    print(printable(file, longest=10 * len(str(file)) + 20))


def _refuse_special(file: Path) -> None:
    """Makes sure that only a regular file is replaced; root could even replace a device.

    Raises:
        SuiteError: a folder, a device, a pipe or a socket has that name.
    """
    special = False
    # If the path cannot be examined it cannot be written either, and the error then says why.
    with contextlib.suppress(OSError):
        special = file.exists() and not file.is_file()
    if special:
        raise SuiteError(
            f"cannot write {file} (it exists and is not a file); name another file with --output"
        )


def terminal_width() -> int:
    """Columns of the terminal, or the value of ``COLUMNS``."""
    return shutil.get_terminal_size().columns


def text_width(most: int) -> int:
    """Columns for running text: at most `most`, and no more than the terminal has.

    Args:
        most: a width that is comfortable to read.
    """
    return min(most, terminal_width()) if sys.stdout.isatty() else most


def wrapped(text: str, width: int, indent: str = "", hanging: str = "") -> list[str]:
    """Wraps a text only between words, so that a word such as a path can be copied in one piece."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )
