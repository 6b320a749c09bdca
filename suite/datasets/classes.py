"""Holding the classes that a built data set has against those that it should have.

Data classes number what they find: an additional folder, or a category out of its place, gives every class
behind it the label of another, and the training ends with a wrong number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from suite.contract import BlockedError, ComposedData, StoredClass, load


def hold_classes(data: ComposedData, built: Mapping[str, Sequence[StoredClass]]) -> None:
    """Does nothing where every label means what it should mean, the same in all parts.

    Args:
        data: of the recipe; what prepares it knows the classes, apart from those of other data.
        built: part -> its classes in the order of their labels (`suite.contract.Adapter.classes`).

    Raises:
        BlockedError: a part has other classes; names data set, part and the first class that differs.
    """
    source = load(data.prepare)
    known = source.classes(data.fingerprint) if hasattr(source, "classes") else None
    reference = known if known is not None else next(iter(built.values()), ())
    for part, found in built.items():
        if difference := _first_difference(reference, found):
            like = "" if known is not None else f" as in {next(iter(built))}"
            raise BlockedError(
                f"{data.name}, {part}: {difference}{like}; restore the data, or remove what does not belong"
            )


def _first_difference(expected: Sequence[StoredClass], found: Sequence[StoredClass]) -> str | None:
    """Where two lists part, in words; None where they are the same."""
    for label, (right, wrong) in enumerate(zip(expected, found, strict=False)):
        if right != wrong:
            return f"class {label} is {wrong} instead of {right}"
    if len(found) > len(expected):
        return f"class {len(expected)} is {found[len(expected)]} instead of none"
    if len(found) < len(expected):
        return f"class {len(found)} is missing, {expected[len(found)]}"
    return None
