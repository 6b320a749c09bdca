"""Types for data that is read from a file or passed on: the base of every model, and validated strings.

A string that becomes a path, part of a command or a name in a table has a type here that admits nothing else.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from suite.errors import printable

_LONGEST_LINE = 20_000
"""Characters; overrides and errors are far shorter, and cutting must not make two long ones equal."""


class Strict(BaseModel):
    """A frozen model that refuses unknown keys, values of another type, and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def first_fault(error: ValidationError) -> tuple[str, ErrorDetails]:
    """The dotted path of the first value that breaks its model, and pydantic's error for it."""
    fault = error.errors(include_url=False)[0]
    return ".".join(map(str, fault["loc"])), fault


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$")]
"""A name that is safe as a file or in a command: ASCII letters and digits, after the first also ``._@+-``."""

RunId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
"""The id of a run or of a series: 16 hexadecimal digits."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""The SHA-256 of a file or of data."""


def _line(text: str) -> str:
    # Escaping goes character by character, which is slow, and hardly any text needs it.
    return text if text.isprintable() and len(text) <= _LONGEST_LINE else printable(text, _LONGEST_LINE)


Line = Annotated[str, AfterValidator(_line)]
"""Free text as one printable line, cut in the middle if it is too long; see `suite.errors.printable`."""
