"""Compares the classes of a built data set with those that it should have.

Data set classes of the zoos number what they find: an additional folder, or a category in the wrong place,
shifts the label of every class after it, and the training ends with a wrong number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from suite.contract import BlockedError, ComposedData, StoredClass, load


def hold_classes(data: ComposedData, built: Mapping[str, Sequence[StoredClass]]) -> None:
    """Makes sure that every label means the right class, in all parts.

    Args:
        data: the data of the recipe; its `DataSource` knows the published classes. For other data in the same
            layout, the parts are compared with the first one.
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
    """The first difference between two lists in words; None if they are equal."""
    for label, (right, wrong) in enumerate(zip(expected, found, strict=False)):
        if right != wrong:
            return f"class {label} is {wrong} instead of {right}"
    if len(found) > len(expected):
        return f"class {len(expected)} is {found[len(expected)]} instead of none"
    if len(found) < len(expected):
        return f"class {len(found)} is missing, {expected[len(found)]}"
    return None
