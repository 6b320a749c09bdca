"""Scripts and their order, without a Slurm; `test_slurm_cluster` has one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("submitit", reason="needs submitit: pip install '.[slurm]'")

from suite.cli import main
from suite.errors import SuiteError
from suite.planning.clusters import Cluster
from suite.planning.plan import Plan, make_plan
from suite.published.finding import find_claim, select
from suite.running import job
from suite.running.launchers.sbatch import batches
from suite.running.launchers.slurm import SlurmLauncher
from suite.running.recording import record_of
from suite.running.request import RunRequest, read_request, write_request
from suite.running.submissions import Submission, all_submissions, read_submission, write_submission
from suite.store.record import Provenance
from suite.store.records import read_for_run, write_record
from suite.store.run_folders import RunFolder


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("results", "work"):
        monkeypatch.setenv(f"SUITE_{name.upper()}", str(tmp_path / name))
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def published() -> Plan:
    return make_plan([claim for _, claim in select("mgd")], "paper", 1)


@pytest.fixture(scope="module")
def with_backbones() -> Plan:
    """Detectors of which student and teacher start from backbones; the distilled ones wait for two runs."""
    return make_plan([find_claim("fgd-retinanet-r50-r101")[1]], "smoke", 2)


def requests_of(plan: Plan, device: str = "cuda") -> list[RunRequest]:
    return [RunRequest.of(run, device, 1, Provenance()) for run in plan.runs.values()]


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_run_is_in_one_batch_behind_all_that_it_needs(
    published: Plan, with_backbones: Plan, data: st.DataObject
):
    plan = data.draw(st.sampled_from([published, with_backbones]))
    requests = data.draw(st.lists(st.sampled_from(requests_of(plan)), unique_by=lambda one: one.run_id))
    requests.sort(key=lambda one: list(plan.runs).index(one.run_id))
    others = [run_id for run_id in plan.runs if run_id not in {one.run_id for one in requests}]
    queued = set(data.draw(st.lists(st.sampled_from(others)))) if others else set()
    largest = data.draw(st.integers(1, 5))
    found = batches(requests, queued, largest)
    assert sorted(one.run_id for batch in found for one in batch.requests) == sorted(
        one.run_id for one in requests
    )
    known = set(queued)
    for batch in found:
        assert 1 <= len(batch.requests) <= largest
        for one in batch.requests:
            there = {*queued, *(request.run_id for request in requests)}
            assert batch.needs == tuple(needed for needed in one.run.needs if needed in there)
            assert batch.processes == (one.recipe.devices_used if one.run.trains else 1)
        assert known.issuperset(batch.needs)
        known |= {one.run_id for one in batch.requests}


def test_a_script_asks_for_what_cluster_and_recipe_say(published: Plan):
    cluster = Cluster(
        name="ours",
        partition="gpu",
        account="vision",
        time="1-00:00:00",
        gpus=8,
        cpus=6,
        memory="64G",
        throttle=4,
        setup=["module load cuda/12.8"],
        options={"exclude": "node07"},
    )
    launcher = SlurmLauncher(cluster)
    launcher.settle(guess=True)
    first = launcher.scripts(requests_of(published))[0]
    lines = first.text.splitlines()
    asked = {line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")}
    devices, size = first.batch.processes, len(first.batch.requests)
    assert {
        *("partition=gpu", "account=vision", "time=1-00:00:00", "exclude=node07", "mem-per-gpu=64G"),
        *(f"gpus-per-node={devices}", f"cpus-per-task={6 * devices}", "nodes=1", "ntasks-per-node=1"),
        *(
            f"array=0-{size - 1}%4",
            "requeue",
            "kill-on-invalid-dep=yes",
            "signal=USR2@180",
            "open-mode=append",
        ),
    } <= asked
    assert not any("dependency" in line for line in asked)
    assert "module load cuda/12.8" in lines
    # The task of an array finds its run, and srun asks for its cores by itself.
    listed = [match[1] for line in lines if (match := re.match(r"  ([0-9a-f]{16})  # ", line))]
    assert listed == [one.run_id for one in first.batch.requests]
    (command,) = [line for line in lines if line.startswith("srun")]
    assert command.endswith('-m suite work "${runs[$SLURM_ARRAY_TASK_ID]}"')
    assert f"--cpus-per-task={6 * devices}" in command


def test_more_gpus_than_a_node_has_are_refused_with_what_to_do(published: Plan):
    launcher = SlurmLauncher(Cluster(name="small", gpus=2))
    launcher.settle(guess=True)
    with pytest.raises(
        SuiteError, match=r"trains on 8 GPUs, but a node of cluster small has 2: resources\.dev"
    ):
        launcher.scripts(requests_of(published))
    on_cores = SlurmLauncher(Cluster(name="cores", gpus=0))
    on_cores.settle(guess=True)
    assert on_cores.device == "cpu"
    assert not any("--gpus" in script.text for script in on_cores.scripts(requests_of(published)))
    with pytest.raises(SuiteError, match="--device cuda: the nodes of cluster cores have no GPU"):
        SlurmLauncher(Cluster(name="cores", gpus=0), "cuda").settle(guess=True)


def test_a_dry_run_prints_scripts_and_graph_where_there_is_no_slurm(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", "/nowhere")
    words = ("--claim", "mgd-resnet18", "--profile", "smoke", "--launcher", "slurm", "--dry-run")
    assert main(["reproduce", *words, "cluster=example", "--jobs", "3"]) == 0
    out = capsys.readouterr().out
    assert "Script 1 of 2: an array of 2 runs\n#!/bin/bash" in out
    assert "submitted with --dependency=afterok: script 1, task 1\n#!/bin/bash" in out
    assert "#SBATCH --array=0-1%2" in out
    graph = out.partition("Dependencies:\n")[2].splitlines()
    assert [line[:2] == "  " for line in graph] == [False, False, True]
    assert graph[2].endswith("resnet18 MGD from resnet34, seed 0 (script 2)")
    assert not (tmp_path / "work").exists()
    # Without --dry-run there has to be one.
    assert main(["reproduce", *words[:-1]]) == 2
    assert "there is no sinfo here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("cluster=example",), "recipes have no cluster; only 'reproduce --launcher slurm' uses one"),
        (("--detach",), "--detach is for --launcher slurm: runs on this machine end with their command"),
        (("--launcher", "slurm", "--device", "gpu"), "unknown device 'gpu'"),
        (("--launcher", "slrum"), "unknown launcher 'slrum': did you mean 'slurm'"),
    ],
)
def test_what_is_for_another_launcher_is_refused(words, says, capsys):
    assert main(["reproduce", "--claim", "mgd-resnet18", *words]) == 2
    assert says in capsys.readouterr().err


@pytest.fixture
def queued(tmp_path: Path) -> dict[str, RunFolder]:
    """A teacher and its two students as an earlier command has submitted them: task 1 of job 7, and job 8."""
    plan = make_plan([find_claim(name)[1] for name in ("mgd-resnet18", "nkd-resnet18-nkd")], "smoke", 1)
    (teacher,) = (run for run in plan.runs.values() if run.arm == "teacher")
    students = [run for run in plan.runs.values() if run.arm == "distilled"]
    folders = {}
    for index, run in enumerate((teacher, *students)):
        folder = RunFolder(tmp_path / "work", run.run_id)
        write_request(folder, RunRequest.of(run, "cpu", 1, Provenance(command="a test")))
        is_teacher = run is teacher
        submission = Submission(
            run_id=run.run_id,
            series=run.series,
            seed=0,
            label=run.label,
            job="7" if is_teacher else "8",
            index=1 if is_teacher else index - 1,
            name="suite-a",
            user="somebody",
            after={} if is_teacher else {teacher.run_id: "7_1"},
            script="script.sh",
            log="log.out",
            submitted_at="2026-11-26T10:00:00+00:00",
            attempts=0,
        )
        write_submission(folder, submission)
        folders["teacher" if is_teacher else f"student{index}"] = folder
    return folders


def as_task(monkeypatch: pytest.MonkeyPatch, job_id: str, index: int) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", job_id)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(index))


def test_a_failing_job_records_those_behind_it_and_none_that_have_a_record(queued, tmp_path, monkeypatch):
    records = tmp_path / "results" / "records"
    teacher, one, two = queued.values()
    # By hand, or as another job than the one they wait for, it tells nobody.
    job.block_waiting(teacher)
    as_task(monkeypatch, "6", 1)
    job.block_waiting(teacher)
    assert not records.exists()
    as_task(monkeypatch, "7", 1)
    write_record(records, record_of(read_request(two).run, "failed", Provenance(), error="by itself"))
    for _ in range(2):
        job.block_waiting(teacher)
        (blocked,) = read_for_run(records, one.run_id)
        assert (blocked.status, blocked.error) == (
            "blocked",
            f"its teacher, run {teacher.run_id}, did not finish",
        )
        assert blocked.provenance.command == "a test"
        assert [record.error for record in read_for_run(records, two.run_id)] == ["by itself"]


def test_a_stopped_run_goes_back_into_the_queue_only_as_its_own_job(queued, tmp_path, monkeypatch):
    asked = tmp_path / "asked"
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n', encoding="utf-8")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scontrol.parent}:/bin")
    assert job.start_again(queued["teacher"]) is None
    as_task(monkeypatch, "7", 1)
    assert job.start_again(queued["student1"]) is None
    assert not asked.exists()
    assert job.start_again(queued["teacher"]) == "job 7_1 is back in the queue"
    assert asked.read_text(encoding="utf-8") == "requeue 7_1\n"
    scontrol.write_text("#!/bin/sh\necho no such job >&2; exit 1\n", encoding="utf-8")
    assert "could not be put back into the queue: no such job" in str(job.start_again(queued["teacher"]))


def test_a_run_behind_two_others_is_blocked_by_either_and_told_which(tmp_path, monkeypatch, with_backbones):
    run = next(run for run in with_backbones.runs.values() if run.arm == "distilled")
    jobs = dict(zip(run.needs, ("5", "6"), strict=True))
    for run_id in (*run.needs, run.run_id):
        folder = RunFolder(tmp_path / "work", run_id)
        one = with_backbones.runs[run_id]
        write_request(folder, RunRequest.of(one, "cpu", 1, Provenance()))
        submission = Submission(
            run_id=run_id,
            series=one.series,
            seed=0,
            label=one.label,
            job=jobs.get(run_id, "7"),
            name="suite-a",
            user="somebody",
            after=jobs if one is run else {},
            script="script.sh",
            log="log.out",
            submitted_at="2026-11-26T10:00:00+00:00",
            attempts=0,
        )
        write_submission(folder, submission)
    assert run.start is not None
    monkeypatch.setenv("SLURM_JOB_ID", jobs[run.start])
    job.block_waiting(RunFolder(tmp_path / "work", run.start))
    monkeypatch.setenv("SLURM_JOB_ID", jobs[str(run.teacher)])
    job.block_waiting(RunFolder(tmp_path / "work", str(run.teacher)))
    (blocked,) = read_for_run(tmp_path / "results" / "records", run.run_id)
    assert (blocked.status, blocked.error) == ("blocked", f"its backbone, run {run.start}, did not finish")


def test_a_script_is_submitted_behind_the_jobs_of_all_that_it_needs(tmp_path, monkeypatch, with_backbones):
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    asked = tmp_path / "asked"
    count = 'echo "$@" >> ' + str(asked) + '; echo "Submitted batch job $(wc -l < ' + str(asked) + ')"'
    sbatch.write_text(f"#!/bin/sh\n{count}\n", encoding="utf-8")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sbatch.parent}:/usr/bin:/bin")
    launcher = SlurmLauncher(Cluster(name="ours"), "cpu")
    for request in requests_of(with_backbones, "cpu"):
        launcher.start(request)
    launcher.flush()
    submitted = {one.run_id: one for one in all_submissions(tmp_path / "work")}
    assert submitted.keys() == with_backbones.runs.keys()
    for run in with_backbones.runs.values():
        assert submitted[run.run_id].after == {needed: submitted[needed].key for needed in run.needs}
    run = next(run for run in with_backbones.runs.values() if run.arm == "distilled")
    start, teacher = (submitted[needed].key for needed in run.needs)
    lines = asked.read_text(encoding="utf-8").splitlines()
    assert any(line.startswith(f"--dependency=afterok:{start}:{teacher} ") for line in lines)


def test_a_submission_of_an_earlier_release_is_read(queued):
    folder = queued["student1"]
    content = json.loads(folder.submission.read_text(encoding="utf-8"))
    ((teacher, key),) = content["after"].items()
    for older in (
        {"schema_version": 1, "teacher": teacher, "after": key},
        {"schema_version": 1, "teacher": None, "after": None},
    ):
        folder.submission.write_text(json.dumps({**content, **older}), encoding="utf-8")
        found = read_submission(folder)
        assert found is not None
        assert found.after == ({teacher: key} if older["teacher"] else {})


@pytest.mark.parametrize("content", ["", "{}", "[1, 2", '{"run_id": "../../etc"}'])
def test_a_damaged_submission_is_none(queued, content):
    folder = queued["teacher"]
    folder.submission.write_text(content, encoding="utf-8")
    assert read_submission(folder) is None
    assert len(list(all_submissions(folder.work))) == 2


def status(capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main(["status"]) == 0
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_status_puts_together_what_was_submitted_recorded_and_is_in_the_queue(
    queued, tmp_path, monkeypatch, capsys
):
    teacher, one, two = (folder.run_id for folder in queued.values())
    monkeypatch.setenv("PATH", str(tmp_path))
    lines = status(capsys)
    assert "On the cluster: 3 of unknown state." in lines
    assert f"7_1 {teacher} resnet34, seed 0 submitted 2026-11-26T10:00:00+00:00" in lines
    (line,) = [line for line in lines if line.startswith("Job states are unknown: ")]
    assert "there is no squeue here" in line

    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    printed = {
        "squeue": "7_1|suite-a|RUNNING|None|0|node01|\n8_0|suite-a|PENDING|Dependency|0||\n",
        "sacct": "8_1|suite-a|OUT_OF_MEMORY|0:125|node02\n",
    }
    for name, text in printed.items():
        (tmp_path / name).write_text(f"#!/bin/sh\ncat <<'E'\n{text}E\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    lines = status(capsys)
    assert "On the cluster: 1 running, 1 pending, 1 ended without a record." in lines
    assert f"7_1 {teacher} resnet34, seed 0 is running on node01" in lines
    assert any(
        line.startswith(f"8_0 {one} ") and line.endswith("waits for another run (7_1)") for line in lines
    )
    (line,) = [line for line in lines if line.startswith(f"8_1 {two} ")]
    assert line.endswith("ran out of memory; the same command resumes it")

    # What is recorded is told as such.
    run = read_request(queued["teacher"]).run
    write_record(tmp_path / "results" / "records", record_of(run, "failed", Provenance(), error="by itself"))
    lines = status(capsys)
    assert "On the cluster: 1 pending, 1 ended without a record." in lines
    assert "failed: resnet34, seed 0: by itself" in lines
