"""Builds what a run would train, with stub data and without weights, to read back its protocol."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from suite.contract import Adapter, BlockedError, ComposedRecipe, EffectiveProtocol, Job, load
from suite.errors import one_line


def dry_run(recipe: ComposedRecipe, log: Path) -> EffectiveProtocol:
    """The effective protocol of a recipe at published scale.

    Args:
        recipe: the composed recipe.
        log: file to which the output of the packages is appended.

    Raises:
        BlockedError: the recipe cannot be built; says why.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        open(log, "a", encoding="utf-8") as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        job = Job(recipe=recipe, seed=0, run_dir=Path(folder), data_dir=Path(folder))
        try:
            adapter: Adapter = load(recipe.adapter).with_stub_data()(job)
            adapter.build()
            return adapter.describe()
        except BlockedError:
            raise
        except Exception as error:
            raise BlockedError(f"cannot be built: {type(error).__name__}: {one_line(error)}") from error
