"""What Slurm's commands print, in words. The printed lines are real ones, of 22.05."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from suite.errors import SuiteError
from suite.running.slurm_queue import (
    JobState,
    gpus_of_a_node,
    largest_array,
    read_gres,
    read_sacct,
    read_squeue,
    states_of,
)
from suite.running.submissions import Submission

SQUEUE = """\
3_0|suite-a|FAILED|NonZeroExitCode|256|node|
3_1|suite-a|FAILED|NonZeroExitCode|35072|node|
4|suite-b|CANCELLED|DependencyNeverSatisfied|0||
5|suite-c|PENDING|Dependency|0||
6|suite-d|PENDING|Nodes required for job are DOWN, DRAINED or reserved|0||
7|suite-e|RUNNING|None|0|node[01-02]|
8|some|body's|PENDING|Resources|0||
9|suite-f|TIMEOUT|TimeLimit|15|node|
10|suite-g|COMPLETING|None|0|node|
"""


def test_every_state_is_told_in_words():
    states = read_squeue(SQUEUE)
    assert {key: state.words for key, state in states.items()} == {
        "3_0": "failed (exit status 1)",
        "3_1": "failed (killed by SIGKILL)",
        "4": "cannot start: the job of a run that it needs did not succeed",
        "5": "waits for another run",
        "6": "is pending (Nodes required for job are DOWN, DRAINED or reserved)",
        "7": "is running on node[01-02]",
        "9": "was ended by its time limit",
        "10": "is completing on node",
    }
    assert [key for key, state in states.items() if state.is_over] == ["3_0", "3_1", "4", "9"]
    assert [key for key, state in states.items() if state.never_starts] == ["4"]


def test_accounts_know_what_the_queue_has_forgotten():
    printed = (
        "11|suite-h|OUT_OF_MEMORY|0:125|node\n12_3|suite-i|CANCELLED by 1000|0:0|None assigned\n"
        "13|suite-j|NODE_FAIL|1:0|node\n14|suite-k|PREEMPTED|0:0|node\n15|suite-l|FAILED|1:0|node\n"
    )
    assert {key: state.words for key, state in read_sacct(printed).items()} == {
        "11": "ran out of memory",
        "12_3": "was cancelled",
        "13": "was lost with its node",
        "14": "was preempted",
        "15": "failed (exit status 1)",
    }


@pytest.mark.parametrize(
    ("printed", "gpus"),
    [
        ("(null)\n", 0),
        ("gpu:8\n(null)\n", 8),
        ("gpu:a100:4(S:0-1)\ngpu:h100:8(S:0-1),nvme:1\n", 8),
        ("gpu:v100:2,gpu:a100:2\n", 4),
        ("shard:32,mps:gpu:100\n", 0),
        ("", 0),
    ],
)
def test_the_gpus_of_the_largest_node_are_counted(printed: str, gpus: int):
    assert read_gres(printed) == gpus


def plant(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for commands of Slurm, of which this machine has no others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", os.pathsep.join((str(folder), "/bin")))
    if any((Path("/bin") / name).exists() for name in ("squeue", "sacct", "sinfo", "scontrol")):
        for name in ("squeue", "sacct", "sinfo", "scontrol"):
            plant(folder, name, "echo not configured >&2; exit 1")
    return folder


def submitted(job: str, name: str, index: int | None = None) -> Submission:
    return Submission(
        run_id="0" * 16,
        series="0" * 16,
        seed=0,
        label="resnet18, seed 0",
        job=job,
        index=index,
        name=name,
        user="somebody",
        script="script.sh",
        log="log.out",
        submitted_at="2026-11-26T10:00:00+00:00",
        attempts=0,
    )


def test_jobs_are_found_by_id_and_name_in_the_queue_and_else_in_the_accounts(commands: Path):
    plant(commands, "squeue", f"cat <<'E'\n{SQUEUE}E")
    asked = [submitted("3", "suite-a", 1), submitted("7", "another's"), submitted("11", "suite-h")]
    killed = JobState("suite-a", "FAILED", "NonZeroExitCode", 35072, "node")
    # Accounts are kept by few clusters.
    assert states_of(asked) == {"3_1": killed}
    plant(commands, "sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    assert states_of(asked) == {"3_1": killed}
    plant(commands, "sacct", "echo '11|suite-h|OUT_OF_MEMORY|0:125|node'")
    assert states_of(asked)["11"].words == "ran out of memory"
    assert states_of([]) == {}


def test_where_slurm_cannot_be_asked_that_is_one_line(commands: Path):
    plant(
        commands, "squeue", "echo 'slurm_load_jobs error: Unable to contact' >&2; echo controller >&2; exit 1"
    )
    with pytest.raises(SuiteError, match="Unable to contact controller; see whether 'squeue' works here"):
        states_of([submitted("3", "suite-a")])
    (commands / "squeue").unlink()
    if not Path("/bin/squeue").exists():
        with pytest.raises(
            SuiteError, match="there is no squeue here: --launcher slurm needs a machine that"
        ):
            states_of([submitted("3", "suite-a")])
        with pytest.raises(SuiteError, match="there is no sinfo here"):
            gpus_of_a_node(None)
    # Nothing depends on how large an array may be.
    assert largest_array() == 1001
    plant(commands, "scontrol", "echo 'MaxArraySize            = 20001'")
    assert largest_array() == 20001
