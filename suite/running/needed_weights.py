"""Checks weights that a run needs: of its teacher, of its initial backbone, or of a released checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from suite.contract import BlockedError
from suite.paths import weights_dir
from suite.planning.plan import Run
from suite.published.priors import find_prior
from suite.published.weights import find_weights, how_to_get
from suite.store.downloads import cached
from suite.store.files import sha256_of
from suite.store.plain_files import fault_of
from suite.store.records import read_for_run
from suite.store.run_folders import RunFolder, lead_to
from suite.verdicts import teacher_reason


class ScoredWeights(NamedTuple):
    """Weights that another run has trained.

    Attributes:
        path: the file.
        sha256: its SHA-256.
        metrics: what they score according to the records of that run.
    """

    path: Path
    sha256: str
    metrics: Mapping[str, float]


def scored_weights(work: Path, records: Path, run_id: str, whose: str) -> ScoredWeights:
    """Finds the weights that another run has trained.

    Args:
        work: the work folder.
        records: the folder of the records.
        run_id: the run that has trained them.
        whose: the role of that run for the one that needs them, for messages.

    Raises:
        BlockedError: the file is missing, or no finished record of that run has its hash.
    """
    path = RunFolder(work, run_id).weights
    found = _sha256_of_file(path)
    if found is None:
        raise BlockedError(
            f"{path} of the {whose}'s run {run_id} is missing or not a file of weights; delete what is "
            f"there, and the same command trains the {whose} again"
        )
    for record in read_for_run(records, run_id):
        if record.status == "finished" and record.provenance.weights_sha256 == found:
            return ScoredWeights(path, found, record.metrics)
    raise BlockedError(
        f"{path} of the {whose}'s run {run_id} is not the file that its records scored (SHA-256 "
        f"{found[:12]}...); delete that file, and the same command trains the {whose} again"
    )


def check_released(run: Run, folder: RunFolder) -> dict[Path, str]:
    """Checks that weights that were trained elsewhere are the requested ones.

    Returns:
        The file -> its SHA-256.

    Raises:
        BlockedError: the file is missing, not a regular file, or a different one.
    """
    path, wanted = folder.weights, run.checkpoint
    assert wanted is not None
    if wanted.weights is not None:
        lead_to(folder, _published(wanted.weights))
    found = _sha256_of_file(path)
    if found is None or wanted.sha256 is None or not found.startswith(wanted.sha256):
        raise BlockedError(
            f"{path.resolve()} is gone or has changed since the command named it; run the command again"
        )
    return {path: found}


def check_accuracy(run: Run, metrics: dict[str, float]) -> None:
    """Checks that a released teacher scores what its publisher reports, before its students are trained.

    Raises:
        BlockedError: it does not; weights, data or evaluation are not the published ones.
    """
    if run.recipe.data.fingerprint is not None or run.checkpoint is None or run.checkpoint.weights is None:
        # Other data than the published ones were declared by an override.
        return
    weights = find_weights(run.checkpoint.weights)
    for name, printed in weights.accuracy.items():
        if name not in metrics or find_prior(weights.dataset, name) is None:
            continue
        if reason := teacher_reason(name, float(printed), metrics[name]):
            raise BlockedError(
                f"{weights.id}: {reason}; data, evaluation or file differ from its publisher's; 'python -m "
                "suite data verify' checks the data"
            )


def _published(name: str) -> Path:
    """The cached file of published weights.

    Raises:
        BlockedError: it is not there, or not the published file.
    """
    weights = find_weights(name)
    path = cached(weights)
    if path is None:
        there = weights_dir() / weights.file_name
        if there.exists():
            raise BlockedError(
                f"{there} is not the published file: its SHA-256 does not begin with {weights.sha256}; "
                f"delete it, then {how_to_get(weights.model)}"
            )
        raise BlockedError(f"{weights.file_name} is not here: {how_to_get(weights.model)}")
    return path


def _sha256_of_file(path: Path) -> str | None:
    """The SHA-256 of a regular file; None for anything else, such as a pipe, which may never end."""
    try:
        return sha256_of(path) if fault_of(path) is None else None
    except FileNotFoundError:
        return None
