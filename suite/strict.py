"""The types of what is read from a file or handed on: the base of every model, and texts that are safe.

A text that becomes a path, a command or a name in a table has a type here that can be nothing else.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from suite.errors import printable

_LONGEST_LINE = 20_000
"""Characters; overrides and errors are far shorter, and two long ones must not become one."""


class Strict(BaseModel):
    """A frozen model that refuses unknown keys, values of another type, and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def first_fault(error: ValidationError) -> tuple[str, ErrorDetails]:
    """Where a value first differs from its model, in dots, and what pydantic says of it."""
    fault = error.errors(include_url=False)[0]
    return ".".join(map(str, fault["loc"])), fault


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$")]
"""A name that can be a file or a word of a command: ASCII letters and digits, then also ``._@+-``."""

RunId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
"""The id of a run or of a series: 16 hexadecimal digits."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""The SHA-256 of a file or of data."""


def _line(text: str) -> str:
    # Letter by letter is slow, and next to no text needs it.
    return text if text.isprintable() and len(text) <= _LONGEST_LINE else printable(text, _LONGEST_LINE)


Line = Annotated[str, AfterValidator(_line)]
"""Free text as one printable line, cut in its middle where it is too long; see `suite.errors.printable`."""
