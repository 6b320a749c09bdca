"""What most verbs have in common: where they print to, how wide, and how much they say while they work."""

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
"""How much is said of progress: only what goes wrong; what ends; what begins, and every epoch, too."""


def add_verbosity(parser: argparse.ArgumentParser) -> None:
    """Adds `-v` and `-q`, which leave `args.verbosity`."""
    add_quiet(parser)
    text = "more progress: the start, log and every epoch of each run"
    parser.add_argument(
        "-v", "--verbose", dest="verbosity", action="store_const", const=VERBOSE, default=NORMAL, help=text
    )


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Adds `-q` alone, for what has no more to say."""
    text = "less progress: only what fails"
    parser.add_argument(
        "-q", "--quiet", dest="verbosity", action="store_const", const=QUIET, default=NORMAL, help=text
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    """Adds `--output`, which `printed_to` heeds."""
    parser.add_argument(
        "--output",
        metavar="FILE",
        dest="output_file",
        type=Path,
        help="write to this file instead of standard output",
    )


@contextlib.contextmanager
def printed_to(file: Path | None) -> Iterator[None]:
    """Takes what is printed, puts it into a file in one step, and prints the name of that file.

    What fails leaves the file as it was.

    Args:
        file: the file; None prints as ever.

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
        # What a link leads to gets the content, and the link stays.
        write(Path(os.path.realpath(file)), text.getvalue().encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise SuiteError(f"cannot write {file} ({error.strerror}); name another file with --output") from None
    print(printable(file, longest=10 * len(str(file)) + 20))


def _refuse_special(file: Path) -> None:
    """Makes sure that nothing but a file is replaced; for root, even a device could be.

    Raises:
        SuiteError: a folder, a device, a pipe or a socket has that name.
    """
    special = False
    # What cannot be looked at cannot be written either, and then it is said why.
    with contextlib.suppress(OSError):
        special = file.exists() and not file.is_file()
    if special:
        raise SuiteError(
            f"cannot write {file} (it exists and is not a file); name another file with --output"
        )


def terminal_width() -> int:
    """Columns of the terminal, or as many as ``COLUMNS`` says."""
    return shutil.get_terminal_size().columns


def text_width(most: int) -> int:
    """Columns for running text: no more than `most`, nor than a terminal has.

    Args:
        most: columns that are comfortable to read.
    """
    return min(most, terminal_width()) if sys.stdout.isatty() else most


def wrapped(text: str, width: int, indent: str = "", hanging: str = "") -> list[str]:
    """Lines of a text, broken between words only: what is one word, such as a path, can be copied whole."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )
