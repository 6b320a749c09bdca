"""Audits of recipes that were changed behind their backs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from suite.audit.compare import Comparison, audit
from suite.audit.dry_run import dry_run
from suite.contract import ComposedRecipe
from suite.planning.composing import compose
from suite.published.finding import find_claim
from suite.published.recipes import load_recipes

CLAIM = "fgd-retinanet-r50-r101"

Change = Callable[[dict[str, Any]], None]
"""Changes a composed recipe as plain data."""


def compared(
    log: Path, change: Change = lambda recipe: None, claim: str = CLAIM, overrides: tuple[str, ...] = ()
) -> list[Comparison]:
    """What an audit says of a claim's distilled run whose recipe was changed behind its back."""
    found = find_claim(claim)[1]
    plain = compose(load_recipes()[str(found.recipe)], "paper", overrides).model_dump()
    change(plain)
    recipe = ComposedRecipe.model_validate(plain)
    return audit(found, "distilled", recipe, dry_run(recipe, log))
