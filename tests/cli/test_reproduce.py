"""``reproduce``: what it says, what it leaves behind, and one clear line for everything that goes wrong."""

from __future__ import annotations

import json
import os
import pty
import resource
import shutil
import subprocess
from pathlib import Path

import pytest

from suite.paths import ROOT
from suite.published.finding import load_papers
from suite.store.record import Record
from suite.store.records import write_record
from tests.conftest import SMALL, CommandLine
from tests.waiting import PATIENCE, wait_until

SMOKE = ("--profile", "smoke", "--device", "cpu")
STUDENT = ("reproduce", "--claim", "nkd-resnet18-student", *SMOKE)
EMBEDDED = "the data are embedded, so published numbers are not comparable"


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The only line on standard error that is no progress."""
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith(("1 runs:", "3 runs:", "["))]
    assert line.startswith("suite: ")
    return line


def timed(suite: CommandLine, *words: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """What a verb that succeeds says, and the processor time that it takes, in seconds.

    Unlike the clock, that hardly depends on what else goes on.
    """
    before = _used_by_commands()
    done = suite(*words)
    seconds = _used_by_commands() - before
    assert done.returncode == 0, done.stderr
    return done, seconds


def _used_by_commands() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.slow
def test_the_second_time_nothing_is_trained_and_nothing_is_touched(copy_of_undisturbed):
    suite = copy_of_undisturbed
    before = suite.record_bytes
    logs = [suite.run_folder(record.run_id).log.read_bytes() for record in suite.records.values()]
    done, seconds = timed(suite, "reproduce", "--claim", "mgd-resnet18", *SMALL)
    assert done.stderr == "3 runs: 3 recorded already, 0 to execute\n"
    assert suite.record_bytes == before
    assert logs == [suite.run_folder(record.run_id).log.read_bytes() for record in suite.records.values()]
    _, seconds_of_report = timed(suite, "report", "--paper", "mgd")
    assert seconds < 4 * seconds_of_report  # what is left to do is what the report does


@pytest.mark.slow
def test_it_says_first_what_it_shows_and_ends_with_the_table(copy_of_undisturbed):
    suite = copy_of_undisturbed
    done = suite("reproduce", "--claim", "mgd-resnet18", *SMALL)
    first, *rest = done.stdout.splitlines()
    assert EMBEDDED in first
    own, *others = [line for line in rest if line.startswith("| mgd-resnet18 ")]
    (variant,) = [line for line in others if "student.embedded.epochs=4" in line and "| top1 |" in line]
    distilled = next(record for record in suite.records.values() if record.arm == "distilled")
    # What was run had overrides: it stands beside the claim's own row, which has not been run.
    assert "| not run |" in own
    assert f"{distilled.metrics['top1']:.2f}" in variant
    assert rest[-1].startswith("Written to ")
    assert (suite.folder / "results" / "mgd.md").read_text(encoding="utf-8").rstrip() in done.stdout


@pytest.mark.slow
def test_records_hold_what_is_needed_to_judge_and_repeat_them(undisturbed):
    by_arm = {record.arm: record for record in undisturbed.records.values()}
    assert set(by_arm) == {"teacher", "student", "distilled"}
    for record in by_arm.values():
        assert record.status == "finished"
        assert record.error is None
        assert {"top1", "top5"} <= set(record.metrics)
        assert {"wall", "train", "evaluation", "seconds_per_step", "peak_memory_mib"} <= set(record.timings)
        facts = {"commit", "packages", "lock_sha256", "host", "device", "data_fingerprint", "weights_sha256"}
        assert facts <= {name for name, fact in record.provenance if fact is not None}
        assert record.protocol["epochs"] == 4
        command = str(record.provenance.command)
        assert command.startswith("python -m suite reproduce --claim mgd-resnet18 --profile mini --seeds 1 ")
    teacher = by_arm["distilled"].provenance.teacher
    assert teacher is not None
    assert teacher.run_id == by_arm["teacher"].run_id
    assert teacher.weights_sha256 == by_arm["teacher"].provenance.weights_sha256


def test_a_dry_run_prints_the_plan_and_leaves_nothing(suite):
    done = suite("reproduce", "--claim", "mgd-resnet18", *SMOKE, "--dry-run")
    assert done.returncode == 0
    assert "resnet18 MGD from resnet34, seed 0" in done.stdout
    assert done.stderr == ""
    assert not (suite.folder / "results").exists()


@pytest.mark.parametrize("budget", [(), ("--budget", "1")])
def test_without_a_selection_it_says_what_there_is_and_trains_nothing(suite, budget):
    done = suite("reproduce", *SMOKE, *budget)
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith("Nothing is trained without a selection. Profile smoke, 1 seed:\n")
    for paper in load_papers():
        assert f"\n{paper} " in done.stdout
    assert "'python -m suite reproduce --paper" in done.stdout
    assert "all of them with --all" in done.stdout
    assert not (suite.folder / "results").exists()
    assert not (suite.folder / "work" / "runs").exists()


def test_everything_is_a_selection_of_its_own(suite):
    both = suite("reproduce", "--all", "--paper", "mgd")
    assert both.returncode == 2
    assert both.stderr == (
        "suite: --all selects every claim of every paper: leave out either it or the other selection\n"
    )
    planned = suite("reproduce", "--all", *SMOKE, "--dry-run")
    assert planned.returncode == 0
    assert planned.stdout == suite("reproduce", *SMOKE, "--dry-run").stdout


def test_a_budget_trains_what_the_plan_picks_the_most_informative_first(suite):
    words = ("--paper", "mgd", "--profile", "mini", "--budget", "0.3")
    planned = suite("plan", *words, "--format", "json")
    assert planned.returncode == 0, planned.stderr
    plan = json.loads(planned.stdout)
    picked = [choice["claim"] for choice in plan["budget"]["choices"] if choice["picked"]]
    assert 0 < len(picked) < len(plan["claims"])

    done = suite("reproduce", *words, "--dry-run")
    assert done.returncode == 0, done.stderr
    claims = len(plan["claims"])
    assert done.stdout.startswith(
        f"Budget of 0.3 CPU core-hours: {len(picked)} of {claims} claims fit, for 0."
    )
    assert f"\nClaims: {len(picked)};" in done.stdout
    distilled = {
        entry["claim"]: run["run_id"]
        for run in plan["runs"]
        for entry in run["claims"]
        if run["arm"] == entry["arm"] == "distilled"
    }
    wanted = [distilled[claim] for claim in picked if claim in distilled]
    listed = [line.split()[0] for line in done.stdout.splitlines() if " distilled " in line]
    assert listed == wanted
    nothing = suite("reproduce", "--paper", "mgd", "--profile", "mini", "--budget", "0.0001", "--dry-run")
    assert nothing.returncode == 0
    assert f"0 of {claims} claims fit, for 0.\n" in nothing.stdout
    assert "There is nothing to train.\n" in nothing.stdout


def test_a_selection_that_cannot_be_trained_says_so_and_prints_its_table(suite):
    done = suite("reproduce", "--claim", _rival(), *SMOKE)
    assert done.returncode == 0, done.stderr
    first, second, *_ = done.stdout.splitlines()
    assert EMBEDDED in first
    assert second == "There is nothing to train. Claims left out: 1, quoted only: no recipe makes its number."
    assert "Written to " in done.stdout
    assert done.stderr == "0 runs: 0 recorded already, 0 to execute\n"


def _rival() -> str:
    from suite.published.finding import select

    return next(claim.id for _, claim in select() if not claim.judged)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--paper", "mdg"), "unknown paper 'mdg'; did you mean 'mgd'?"),
        (("--claim", "mgd-resnet81"), "unknown claim 'mgd-resnet81'; did you mean 'mgd-resnet18'"),
        (("--profile", "mni"), "unknown profile 'mni': did you mean 'mini'?"),
        (("--device", "gpu"), "unknown device 'gpu': did you mean 'cpu'?"),
        (("--launcher", "locl"), "unknown launcher 'locl': did you mean 'local'?"),
        (("--seeds", "0"), "argument --seeds: must be a whole number from 1 to 100, got '0'; each seed"),
        (("--jobs", "two"), "argument --jobs: must be a whole number from 1 to 1024, got 'two'; each is"),
        (("--claim", "nkd-resnet18-student", "epochs=3"), "override 'epochs=3': a recipe has no 'epochs'; "),
    ],
)
def test_wrong_input_is_one_line_and_leaves_everything_as_it_is(suite, words, says):
    _store(suite)
    before = suite.record_bytes
    done = suite("reproduce", *words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"suite: {says}")
    assert done.stderr.count("\n") == 1
    assert suite.record_bytes == before


@pytest.mark.train
def test_without_a_gpu_asking_for_one_is_one_line(suite):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    done = suite("reproduce", "--claim", "nkd-resnet18-student", "--profile", "smoke", "--device", "cuda")
    assert done.returncode == 2
    assert done.stderr == (
        "suite: --device cuda: PyTorch sees no GPU; use --device cpu, or see 'python -m suite doctor'\n"
    )


def _store(suite: CommandLine) -> Path:
    """A record store with one finished run; the path of its record."""
    record = Record.model_validate(
        {
            "run_id": "0123456789abcdef",
            "series": "fedcba9876543210",
            "claims": [{"claim": "nkd-resnet18-student", "arm": "student"}],
            "task": "classification",
            "arm": "student",
            "profile": "mini",
            "seed": 0,
            "status": "finished",
            "metrics": {"top1": 70.0},
            "comparable": False,
            "finished_at": "2026-11-01T10:00:00+00:00",
        }
    )
    folder = suite.folder / "results" / "records"
    write_record(folder, record)
    return folder / "0123456789abcdef-01.json"


@pytest.mark.parametrize("verb", ["plan", "reproduce", "status", "report"])
def test_a_truncated_record_stops_every_verb_with_one_line_before_anything_changes(suite, verb):
    path = _store(suite)
    path.write_bytes(path.read_bytes()[:100])
    before = suite.record_bytes
    selection = ("--claim", "nkd-resnet18-student") if verb in ("plan", "reproduce") else ()
    done = suite(verb, *selection)
    assert done.returncode == 2
    assert done.stderr.startswith(f"suite: {path}: damaged record (")
    assert done.stderr.count("\n") == 1
    assert suite.record_bytes == before
    assert not (suite.folder / "work" / "runs").exists()


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("papers/mgd/claims.yaml", "    role: ours\n", "    role: own\n", "role"),
        ("papers/mgd/claims.yaml", "claims:\n", "claims: [\n", ""),
        (
            "papers/mgd/recipes.yaml",
            "student: resnet34}",
            "student: resnet34x}",
            "did you mean 'resnet34'",
        ),
        ("papers/mgd/recipes.yaml", "resnet18-mgd-resnet34:", "resnet18-mgd-34:", "there is no recipe"),
    ],
)
def test_a_broken_baselines_file_is_one_line(suite, tmp_path, name, old, new, says):
    clone = tmp_path / "clone"
    for folder in ("suite", "tasks", "baselines"):
        shutil.copytree(ROOT / folder, clone / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements.lock", clone)
    broken = clone / "baselines" / name
    text = broken.read_text(encoding="utf-8")
    assert old in text
    broken.write_text(text.replace(old, new, 1), encoding="utf-8")
    environment = {**suite.environment, "PYTHONPATH": str(clone)}
    done = suite("reproduce", "--claim", "mgd-resnet18", *SMOKE, cwd=clone, env=environment)
    assert done.returncode == 2
    assert done.stderr.startswith("suite: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    # A claim that names a recipe is where a recipe's new name is missed.
    assert ("papers/mgd/claims.yaml:" if says == "there is no recipe" else f"{name}:") in done.stderr


def _no_file_above(size: int):
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


# A limit on the size of files stands in for a full disk: both refuse in the middle of a write.


@pytest.mark.train
@pytest.mark.slow
def test_a_disk_that_fills_up_during_a_run_fails_it_with_one_line_and_the_next_time_it_finishes(suite):
    done = suite(*STUDENT, preexec_fn=_no_file_above(300_000))
    assert done.returncode == 1
    (record,) = suite.records.values()
    assert complaint(done).endswith(str(record.error))
    assert record.status == "failed"
    assert "cannot write the checkpoint" in str(record.error)
    assert "(File too large); make room there and run the same command again" in str(record.error)
    assert not list(suite.run_folder(record.run_id).path.glob("*.new"))

    before = suite.record_bytes
    assert suite(*STUDENT).returncode == 0
    assert suite.record_bytes | before == suite.record_bytes
    assert [record.status for record in suite.records.values()] == ["failed", "finished"]


@pytest.mark.train
def test_a_disk_that_is_full_already_is_one_line_before_anything_is_trained(suite):
    _store(suite)
    before = suite.record_bytes
    done = suite(*STUDENT, preexec_fn=_no_file_above(10_000))
    assert done.returncode == 2
    assert complaint(done) == (
        f"suite: cannot write records to {suite.folder}/results/records (File too large): make room there, "
        "or name another folder for results in SUITE_RESULTS"
    )
    assert suite.record_bytes == before
    assert not (suite.folder / "work" / "runs").exists()


@pytest.mark.train
@pytest.mark.slow
def test_a_store_that_goes_away_during_a_run_is_one_line_and_the_work_is_not_lost(suite):
    process = suite.start(*STUDENT)
    wait_until(suite.running)
    # A file where the folder was: no process can write there, not even the superuser's.
    shutil.rmtree(suite.folder / "results")
    (suite.folder / "results").write_text("", encoding="utf-8")
    out, err = process.communicate(timeout=PATIENCE)
    line = complaint(subprocess.CompletedProcess([], process.returncode, out, err))
    assert process.returncode == 1
    assert "no record of it can be written to" in line
    assert "run the same command again" in line

    (suite.folder / "results").unlink()
    done = suite(*STUDENT)
    assert done.returncode == 0, done.stderr
    (record,) = suite.records.values()
    assert record.attempt == 1
    assert "resumed epoch: 1" in suite.run_folder(record.run_id).log.read_text()


@pytest.mark.train
@pytest.mark.slow
def test_a_report_that_cannot_be_written_stops_no_run(suite):
    # A folder where the file belongs: no process can replace it.
    blocker = suite.folder / "results" / "nkd-smoke.md"
    (blocker / "full").mkdir(parents=True)
    done = suite(*STUDENT)
    assert done.returncode == 2
    assert [record.status for record in suite.records.values()] == ["finished"]
    line = complaint(done)
    assert line.startswith(f"suite: cannot write the report to {suite.folder}/results (")
    assert "the records are safe" in line
    assert "| nkd-resnet18-student |" in done.stdout


@pytest.mark.train
@pytest.mark.slow
def test_a_work_folder_that_cannot_be_used_is_a_failed_run(suite):
    (suite.folder / "work" / "runs").write_text("", encoding="utf-8")
    done = suite(*STUDENT)
    assert done.returncode == 1
    (record,) = suite.records.values()
    assert record.status == "failed"
    assert str(suite.folder / "work" / "runs") in str(record.error)
    assert complaint(done).endswith(str(record.error))


@pytest.mark.train
def test_results_that_cannot_be_written_are_refused_before_anything_is_trained(suite, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    environment = {**suite.environment, "SUITE_RESULTS": str(tmp_path / "file" / "results")}
    done = suite(*STUDENT, env=environment)
    assert done.returncode == 2
    assert "cannot write records to" in complaint(done)
    assert not (suite.folder / "work" / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("distilled", "variant", "status"),
    [
        pytest.param(60.0, False, 3, id="the claim loses"),
        pytest.param(80.0, False, 0, id="the claim gains"),
        pytest.param(60.0, True, 0, id="a variant loses and the claim was not run"),
    ],
)
def test_strict_is_status_three_when_the_verdict_on_a_claim_deviates(
    copy_of_undisturbed, distilled, variant, status
):
    # The records of three seeds stand for trainings that went one way or the other.
    suite = copy_of_undisturbed
    store = suite.folder / "results" / "records"
    for name, record in suite.records.items():
        (store / f"{name}.json").unlink()
        gained = distilled if record.arm == "distilled" else 70.0
        claims = record.claims
        if not variant:
            claims = [entry.model_copy(update={"variant": ()}) for entry in claims]
        changed = record.model_copy(update={"metrics": {"top1": gained, "top5": 90.0}, "claims": claims})
        write_record(store, changed)
        if record.arm != "teacher":
            for seed, noise in ((1, 0.1), (2, -0.1)):
                other = {"run_id": f"{seed}{record.run_id[1:]}", "seed": seed}
                other["metrics"] = {"top1": gained + noise * (record.arm == "student"), "top5": 90.0}
                write_record(store, changed.model_copy(update=other))
    words = ("reproduce", "--claim", "mgd-resnet18", *SMALL)
    done = suite(*words, "--strict")
    assert done.returncode == status, done.stderr
    assert (") | LOSS |" in done.stdout) == (distilled < 70.0)
    assert suite(*words).returncode == 0


@pytest.mark.slow
def test_progress_is_live_on_a_terminal_and_one_line_a_run_elsewhere(suite, make_command_line, tmp_path):
    plain = suite(*STUDENT)
    assert plain.returncode == 0, plain.stderr
    opening, ended = plain.stderr.splitlines()
    assert opening.startswith("1 runs: 0 recorded already, 1 to execute")
    assert ended.startswith("[1/1] resnet18, seed 0: finished in ")
    assert "\x1b" not in plain.stderr

    controller, terminal = pty.openpty()
    other = make_command_line(tmp_path / "other")
    environment = {**other.environment, "TERM": "xterm"}
    process = other.start(*STUDENT, stderr=terminal, env=environment)
    os.close(terminal)
    shown = b""
    try:
        while part := os.read(controller, 65536):
            shown += part
    except OSError:  # how a terminal says that nobody is left
        pass
    process.communicate(timeout=PATIENCE)
    text = shown.decode(errors="replace")
    assert process.returncode == 0, text
    assert "\x1b[" in text
    assert "epoch 1/1, loss" in text
    assert "[1/1] resnet18, seed 0: finished in" in text


def test_a_reader_that_leaves_early_is_no_error(suite):
    process = suite.start("list", "--format", "json")
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(timeout=PATIENCE) == 0


def test_output_to_a_full_disk_is_one_line(suite):
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = suite("list", stdout=full)
    assert done.returncode == 2
    assert done.stderr.startswith("suite: operating system error: [Errno 28] No space left on device")
    assert done.stderr.count("\n") == 1
