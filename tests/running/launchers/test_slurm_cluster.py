"""Runs on a real Slurm, started here: behind their teachers, interrupted in every way, cancelled."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from suite.paths import ROOT
from suite.planning.plan import make_plan
from suite.published.finding import select
from suite.running.submissions import Submission, read_submission
from suite.store.record import Record
from tests.conftest import SMALL, CommandLine
from tests.slurm_cluster import CORES, LARGEST_ARRAY, NODE, SlurmCluster, wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

ON_CLUSTER = ("--launcher", "slurm", f"cluster.cpus={CORES}")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    found = SlurmCluster(tmp_path_factory.mktemp("slurm"))
    found.start()
    yield found
    found.stop()


@dataclass(frozen=True)
class OnCluster(CommandLine):
    """A command line that submits to the cluster."""

    cluster: SlurmCluster

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "SLURM_CONF": str(self.cluster.config)}

    def submission(self, run_id: str) -> Submission:
        found = read_submission(self.run_folder(run_id))
        assert found is not None
        return found

    def log(self, run_id: str) -> str:
        """What the jobs of a run have printed, the latest one's."""
        path = Path(self.submission(run_id).log)
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def of(self, arm: str) -> list[Record]:
        return [record for record in self.records.values() if record.arm == arm]

    def process(self, run_id: str) -> int:
        """The process that executes a run."""
        (found,) = [process for process, busy in self.running().items() if busy == run_id]
        return found


@pytest.fixture
def on_cluster(cluster: SlurmCluster, suite: CommandLine) -> Iterator[OnCluster]:
    yield OnCluster(suite.folder, cluster)
    # What a failed test has left must not stand in the way of the next.
    cluster.update_node("resume")
    cluster.ask("scancel", "--me")
    wait_until(lambda: not cluster.queue())


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy paper with an adapter that leaves resume points."""
    folder = tmp_path_factory.mktemp("papers")
    shutil.copytree(ROOT / "tests" / "papers" / "toy", folder / "toy")
    shutil.copy(Path(__file__).parent / "steady" / "steady.py", folder / "toy")
    tasks = folder / "toy" / "tasks.yaml"
    text = tasks.read_text(encoding="utf-8").replace(
        "adapter.py:RegressionAdapter", "steady.py:SteadyAdapter"
    )
    tasks.write_text(text, encoding="utf-8")
    return folder


def arms_of(papers: Path, monkeypatch: pytest.MonkeyPatch, seeds: int) -> dict[str, list[str]]:
    """Arm -> the runs of the toy's selection, by seed."""
    monkeypatch.setenv("SUITE_PAPERS", str(papers))
    plan = make_plan([claim for _, claim in select(claims=["toy-narrow-predictions"])], "mini", seeds)
    arms: dict[str, list[str]] = {}
    for run in plan.runs.values():
        arms.setdefault(run.arm, []).append(run.run_id)
    return arms


def toy(papers: Path, seeds: int) -> tuple[str, ...]:
    return (
        *("reproduce", "--claim", "toy-narrow-predictions", "--profile", "mini", "--seeds", str(seeds)),
        *("--device", "cpu", "--papers", str(papers)),
    )


def done(answer: subprocess.CompletedProcess[str], status: int = 0) -> str:
    """What a command printed that ended as it should, standard error behind standard output."""
    assert answer.returncode == status, answer.stdout + answer.stderr
    assert "Traceback" not in answer.stdout + answer.stderr
    return answer.stdout + answer.stderr


def words(text: str) -> str:
    return " ".join(text.split())


def assert_same(one: CommandLine, other: CommandLine) -> None:
    """The same finished runs, with the same metrics and the same weights."""
    metrics = [
        {record.run_id: record.metrics for record in suite.records.values() if record.status == "finished"}
        for suite in (one, other)
    ]
    assert metrics[0] == metrics[1]
    digests = [
        {
            record.run_id: record.provenance.weights_sha256
            for record in suite.records.values()
            if record.metrics
        }
        for suite in (one, other)
    ]
    assert digests[0] == digests[1]


@pytest.mark.train
def test_interrupted_in_every_way_runs_end_like_undisturbed_ones(
    papers, on_cluster, make_command_line, tmp_path, monkeypatch
):
    suite, cluster = on_cluster, on_cluster.cluster
    undisturbed = make_command_line(tmp_path / "undisturbed")
    done(undisturbed(*toy(papers, 3)))
    arms = arms_of(papers, monkeypatch, 3)
    (teacher,), students, distilled = arms["teacher"], arms["student"], arms["distilled"]
    limited, killed, requeued = students
    first = [teacher, *students]
    hold = suite.folder / "work" / "hold"
    hold.touch()

    def held(run_ids: list[str], starts: int) -> Callable[[], bool]:
        """Whether runs are in mid-training, at their so-manieth start or a later one."""

        def look() -> bool:
            folders = [suite.run_folder(run_id) for run_id in run_ids]
            began = [
                folder.log.exists() and folder.log.read_text().count("\n---") >= starts for folder in folders
            ]
            return all(began) and all(folder.owner() and folder.resume.exists() for folder in folders)

        return look

    # Submitted and left alone: the command is gone from here to the end.
    submit = (*toy(papers, 3), *ON_CLUSTER, "cluster.time=60", "cluster.notice=20", "--detach")
    said = done(suite(*submit))
    assert "submitted 7 runs in 2 scripts" in said
    wait_until(held(first, 0))
    keys = {run_id: suite.submission(run_id).key for run_id in (*first, *distilled)}
    assert {cluster.queue()[keys[run_id]] for run_id in distilled} == {"PENDING"}
    assert all(suite.submission(run_id).after == {teacher: keys[teacher]} for run_id in distilled)
    # Twice: nothing more is queued.
    assert "7 runs already submitted" in done(suite(*submit))
    assert len(cluster.queue()) == 7
    # How far a run is shows with its next sign of life.
    far = f"{keys[teacher]} {teacher} mlp-wide, seed 0 is running on {NODE}, epoch 3/12, loss"
    wait_until(lambda: far in words(done(suite("status", "--papers", str(papers)))))
    status = words(done(suite("status", "--papers", str(papers))))
    assert "On the cluster: 4 running, 3 pending." in status
    assert f"waits for another run ({keys[teacher]})" in status

    # A node that is drained takes nothing new, and one that fails takes its jobs with it.
    cluster.update_node("drain")
    cluster.update_node("down")
    wait_until(lambda: set(cluster.queue().values()) == {"PENDING"})
    cluster.update_node("resume")
    wait_until(held(first, 1))
    # One that is too busy to hear that its time is nearly over, and another that hears it.
    (suite.run_folder(limited).path / "deaf").touch()
    for run_id in (limited, teacher):
        cluster.end_soon(keys[run_id])
    # An administrator, or preemption.
    cluster.ask("scontrol", "requeue", keys[requeued])
    # The system, when memory runs out.
    os.kill(suite.process(killed), signal.SIGKILL)
    wait_until(lambda: cluster.state(keys[killed]) == "FAILED")
    wait_until(lambda: "is back in the queue" in suite.log(teacher))
    cluster.ask("scontrol", "update", f"jobid={keys[teacher]}", "timelimit=60")
    wait_until(lambda: cluster.state(keys[limited]) == "TIMEOUT")
    wait_until(held([requeued], 2))

    status = words(done(suite("status", "--papers", str(papers))))
    assert re.search(
        rf"{keys[killed]} {killed} mlp-narrow, seed 1 failed \(killed by SIGKILL\), with no record", status
    )
    assert (
        f"{keys[limited]} {limited} mlp-narrow, seed 0 was ended by its time limit, with no record" in status
    )
    assert not suite.records

    hold.unlink()
    wait_until(lambda: not cluster.queue())
    assert {record.run_id for record in suite.records.values()} == {teacher, requeued, *distilled}
    said = done(suite(*submit[:-1]))
    assert "submitted 2 runs in 1 script" in said
    assert_same(suite, undisturbed)
    assert {record.attempt for record in suite.records.values()} == {1}
    for run_id in first:
        log = suite.run_folder(run_id).log.read_text()
        assert "resumed after epoch" in log
    assert "On the cluster" not in done(suite("status", "--papers", str(papers)))


@pytest.mark.train
def test_a_failed_teacher_blocks_its_students_though_nobody_waits(papers, on_cluster, monkeypatch):
    suite, cluster = on_cluster, on_cluster.cluster
    fails = "teacher.embedded.overrides.hidden=-1"
    done(suite(*toy(papers, 2), *ON_CLUSTER, "--detach", fails))
    wait_until(lambda: not cluster.queue())
    (teacher,), distilled = suite.of("teacher"), suite.of("distilled")
    assert teacher.status == "failed"
    assert {record.status for record in suite.of("student")} == {"finished"}
    reason = f"its teacher, run {teacher.run_id}, did not finish"
    assert [(record.status, record.error) for record in distilled] == [("blocked", reason)] * 2
    keys = [suite.submission(record.run_id).key for record in distilled]
    assert [cluster.state(key) for key in keys] == ["CANCELLED"] * 2
    assert f"({reason})" not in done(suite("status", "--papers", str(papers)))

    # A command that waits tells the same, and tries again what failed.
    said = done(suite(*toy(papers, 2), *ON_CLUSTER, fails), 1)
    assert "submitted 3 runs in 2 scripts" in said
    assert said.count(reason) >= 2
    assert [record.attempt for record in suite.of("distilled")] == [1, 2, 1, 2]


@pytest.mark.train
def test_what_is_cancelled_leaves_the_queue_and_goes_on_later(papers, on_cluster, monkeypatch):
    suite, cluster = on_cluster, on_cluster.cluster
    (student,) = arms_of(papers, monkeypatch, 1)["student"]
    hold = suite.folder / "work" / "hold"
    hold.touch()
    done(suite(*toy(papers, 1), *ON_CLUSTER, "--detach"))
    wait_until(suite.run_folder(student).resume.exists)
    other = ("--claim", "toy-narrow-half", "--profile", "mini", "--papers", str(papers))
    assert "Jobs cancelled: 2. Jobs of other selections, not cancelled: 1." in words(
        done(suite("cancel", *other))
    )
    wait_until(lambda: not cluster.queue())
    # Its teacher was of both selections.
    assert "cannot start: the job of a run that it needs did not succeed" in done(
        suite("status", "--papers", str(papers))
    )
    hold.unlink()
    done(suite(*toy(papers, 1), *ON_CLUSTER))
    assert {record.status for record in suite.records.values()} == {"finished"}
    assert "resumed after epoch 3" in suite.run_folder(student).log.read_text()
    assert "Jobs cancelled: 0." in done(suite("cancel", "--all"))


@pytest.mark.train
def test_a_distilled_run_of_a_paper_waits_for_its_teacher_and_comes_out_as_on_this_machine(
    undisturbed, on_cluster
):
    suite, cluster = on_cluster, on_cluster.cluster
    done(suite("reproduce", "--claim", "mgd-resnet18", *SMALL, *ON_CLUSTER, "--detach"))
    runs = {record.arm: record.run_id for record in undisturbed.records.values()}
    teacher, student = (suite.run_folder(runs[arm]) for arm in ("teacher", "student"))
    # The student is the faster of the two.
    wait_until(student.resume.exists)
    cluster.ask("scontrol", "requeue", suite.submission(student.run_id).key)
    wait_until(teacher.resume.exists)
    # What Slurm does before it preempts a job or ends its time.
    cluster.ask("scancel", "--signal=USR2", suite.submission(teacher.run_id).key)
    wait_until(lambda: not cluster.queue())
    assert "is back in the queue" in suite.log(teacher.run_id)
    for folder in (teacher, student):
        assert "resumed epoch:" in folder.log.read_text()
    assert sorted(suite.records) == sorted(undisturbed.records)
    assert_same(suite, undisturbed)


def scripts_of(printed: str) -> list[str]:
    """The scripts of a dry run."""
    text = printed.partition("\nDependencies:")[0]
    return re.split(r"^Script \d+ of \d+: .*\n", text, flags=re.MULTILINE)[1:]


@pytest.mark.parametrize("wanted", [(), ("cluster.time=90", "cluster.throttle=3", "cluster.cpus=2")])
def test_sbatch_accepts_every_script_of_a_published_protocol(on_cluster, tmp_path, wanted):
    suite = on_cluster
    selection = ("--paper", "mgd", "--profile", "paper")
    printed = done(suite("reproduce", *selection, "--launcher", "slurm", "--dry-run", *wanted))
    scripts = scripts_of(printed)
    runs = json.loads(done(suite("plan", *selection, "--format", "json")))["runs"]
    assert all(any(run["run_id"] in script for script in scripts) for run in runs)
    for script in scripts:
        path = tmp_path / "script.sh"
        path.write_text(script, encoding="utf-8")
        answer = subprocess.run(
            ["sbatch", "--test-only", path],
            env=suite.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr
    assert not suite.cluster.queue()
    assert not (suite.folder / "work" / "runs").exists()


def test_what_all_papers_take_is_queued_in_arrays_that_the_cluster_takes(on_cluster):
    suite, cluster = on_cluster, on_cluster.cluster
    cluster.update_node("drain")
    everything = ("--all", "--profile", "paper", "resources.devices=1")
    said = done(suite("reproduce", *everything, *ON_CLUSTER, "--detach"))
    runs = json.loads(done(suite("plan", *everything[1:], "--format", "json")))["runs"]
    assert f"submitted {len(runs)} runs in" in said
    submissions = {run["run_id"]: suite.submission(run["run_id"]) for run in runs}
    assert sorted(entry.key for entry in submissions.values()) == sorted(cluster.queue())
    assert max(entry.index or 0 for entry in submissions.values()) < LARGEST_ARRAY
    for run in runs:
        after = {run["teacher"]: submissions[run["teacher"]].key} if run["teacher"] else {}
        assert submissions[run["run_id"]].after == after
    assert f"On the cluster: {len(runs)} pending." in done(suite("status"))
    assert f"Jobs cancelled: {len(runs)}." in done(suite("cancel", "--all"))
    assert not cluster.queue()


def test_what_sbatch_refuses_is_one_line_and_leaves_no_record(on_cluster):
    claim = ("--claim", "nkd-resnet18-student", "--profile", "smoke", "--device", "cpu")
    answer = on_cluster("reproduce", *claim, "--launcher", "slurm", "cluster.partition=nowhere")
    assert answer.returncode == 2
    (line,) = [line for line in answer.stderr.splitlines() if line.startswith("suite: ")]
    assert "invalid partition specified: nowhere" in line
    assert line.endswith("correct the cluster's settings (cluster=NAME, cluster.KEY=VALUE)")
    assert not on_cluster.cluster.queue()
    assert "No records yet" in on_cluster("status").stdout
