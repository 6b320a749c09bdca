"""What verbs show on a terminal, what they print elsewhere, and the options that most of them share."""

from __future__ import annotations

import argparse
import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from suite.cli import VERBS, build_parser, main
from suite.cli.answer import print_answers
from suite.cli.output import wrapped
from suite.cli.screen import Screen, folded
from suite.paths import ROOT
from suite.report.answer import Failure
from tests.cli import screens
from tests.cli.screens import CLAIM, CLAIMS, COLUMNS, SCENES, Scene, Terminal, path_of, shot

DOCUMENT = ROOT / "docs" / "command-line.md"


def verbs_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The verbs or the actions of a parser."""
    return {
        name: chosen
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for name, chosen in action.choices.items()
    }


def test_every_verb_has_a_screen_and_no_screen_is_of_a_verb_that_is_gone():
    verbs = set(verbs_of(build_parser(None)))
    assert verbs == {scene.words[0] for scene in SCENES.values()}
    assert {path.name for path in screens.FOLDER.iterdir()} == {path_of(name).name for name in SCENES}


@pytest.mark.parametrize("name", SCENES)
def test_what_a_verb_shows_is_what_is_kept(name, tmp_path):
    kept = path_of(name).read_text(encoding="utf-8")
    assert shot(SCENES[name], tmp_path) == kept, "python -m tests.cli.screens writes it anew"


@pytest.mark.parametrize("name", SCENES)
def test_a_screen_fits_its_columns_and_nothing_is_cut(name):
    command, *lines = path_of(name).read_text(encoding="utf-8").splitlines()
    assert command.startswith(f"$ python -m suite {SCENES[name].words[0]}")
    assert [line for line in lines if len(line) > COLUMNS] == []
    assert "…" not in "".join(lines)
    assert "\x1b" not in "".join(lines)


def helps() -> list[tuple[str, ...]]:
    """The command lines that ask for help: of all, of every verb, and of its actions."""
    found: list[tuple[str, ...]] = [()]
    for verb in VERBS:
        found.append((verb,))
        found += [(verb, action) for action in verbs_of(verbs_of(build_parser(verb))[verb])]
    return found


@pytest.mark.parametrize("words", helps(), ids=" ".join)
def test_every_help_fits_80_columns(words, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > COLUMNS] == []


def test_every_id_of_a_claim_is_whole_where_it_is_folded(tmp_path):
    scene = Scene(("list", "--paper", "nkd"), screens.empty)
    text = shot(scene, tmp_path)
    longest = "nkd-mobilenet-v2-cifar-resnet50-cifar-nkd"
    first, second = folded(longest, 29).split("\n")
    lines = text.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith(f"{second} ")]
    assert lines[at - 1].startswith(f"{first} ")
    assert first + second == longest
    assert max(map(len, lines[1:])) <= COLUMNS


def test_a_wide_terminal_has_a_line_a_claim(tmp_path, monkeypatch):
    monkeypatch.setattr(screens, "COLUMNS", 200)
    text = shot(Scene(("list", "--paper", "mgd"), screens.empty), tmp_path)
    (line,) = [line for line in text.splitlines() if line.startswith("mgd-resnet18 ")]
    assert line.split()[1:6] == ["ours", "MGD", "resnet34", "resnet18", "top1"]


@pytest.mark.parametrize("width", [20, 33])
def test_a_folded_name_is_whole_and_breaks_behind_hyphens(width):
    name = "nkd-mobilenet-v2-cifar-resnet50-cifar-nkd"
    lines = folded(name, width).split("\n")
    assert "".join(lines) == name
    assert max(map(len, lines)) <= width
    assert all(line.endswith("-") for line in lines[:-1])


def test_what_is_one_word_is_never_broken():
    path = "/a/very/long/" + "path-of/" * 12 + "file"
    assert path in wrapped(f"written to {path} and elsewhere", 40)


def terminal_of(columns: int, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Standard output as a terminal. Between the phases of a test pytest puts its own there."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "dumb")
    return terminal


def test_a_long_command_can_be_pasted_into_a_shell(monkeypatch):
    terminal = terminal_of(40, monkeypatch)
    command = "python -m suite reproduce --claim one-claim another-claim 'student.name=with blanks'"
    Screen().command("Do it:", command)
    first, *lines = terminal.getvalue().splitlines()
    assert first == "Do it:"
    assert len(lines) > 1
    assert max(map(len, lines)) <= 40
    # As a shell reads it.
    joined = "\n".join(lines).replace("\\\n", "")
    assert re.sub(r" +", " ", joined).strip() == command


def test_an_indented_paragraph_stays_indented_and_escapes_are_shown(monkeypatch):
    terminal = terminal_of(40, monkeypatch)
    Screen().say("What failed:\n  a run: an error that is as long as this one \x1b[31m is")
    assert terminal.getvalue().splitlines() == [
        "What failed:",
        "  a run: an error that is as long as",
        "    this one \\x1b[31m is",
    ]


@pytest.fixture
def reproduced(tmp_path, monkeypatch):
    """A store with everything that `CLAIMS` need, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUITE_RESULTS", "results")
    monkeypatch.setenv("SUITE_WORK", "work")
    with SCENES["reproduce"].laid_out(monkeypatch):
        yield tmp_path


REPRODUCE = ("reproduce", "--claim", *CLAIMS, "--seeds", "3")


def test_elsewhere_reproduce_prints_the_page_that_it_writes(reproduced, capsys):
    assert main(REPRODUCE) == 0
    out = capsys.readouterr().out
    page = (reproduced / "results" / "nkd.md").read_text(encoding="utf-8")
    assert page.rstrip() in out
    assert out.splitlines()[-1] == "Written to results/nkd.md and results/nkd.csv."


def test_runs_that_had_finished_keep_no_samples_and_that_is_told(reproduced, capsys):
    assert main([*REPRODUCE, "--samples", "2"]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "samples" in line]
    assert line == (
        "suite: 10 runs were already finished and keep no new samples: --again measures them again"
    )


def test_a_form_can_be_asked_for_whatever_standard_output_is(reproduced, monkeypatch):
    terminal = terminal_of(80, monkeypatch)
    assert main([*REPRODUCE, "--format", "markdown"]) == 0
    assert "| nkd-resnet18-nkd | NKD |" in terminal.getvalue()


def test_on_a_terminal_reproduce_ends_with_the_rows_that_were_asked_for(tmp_path):
    shown = shot(Scene((*REPRODUCE[:3], "--seeds", "3"), SCENES["reproduce"].laid_out), tmp_path)
    assert "nkd-resnet18-student" in shown
    assert "nkd-resnet18-nkd" not in shown
    assert "|" not in shown
    assert (tmp_path / "results" / "nkd.md").is_file()


@screens.laid_out
def without_room_for_the_page(patch: pytest.MonkeyPatch) -> None:
    """Everything has finished, and a folder stands where the page belongs."""
    screens.record_all(Path("results/records"), list(screens.planned().runs.values()))
    Path("results/nkd.md/full").mkdir(parents=True)


def test_the_answer_is_shown_although_its_page_cannot_be_written(tmp_path):
    shown = shot(Scene(REPRODUCE, without_room_for_the_page, status=2), tmp_path)
    assert "nkd-resnet18-nkd" in shown
    assert "\nPage:" not in shown
    (line,) = [line for line in shown.splitlines() if line.startswith("suite: ")]
    assert line.startswith("suite: cannot write the report to results (")


def test_what_failed_is_told_with_reason_and_log_and_few_logs_are_named_one_by_one(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "work" / "runs" / "0123" / "log.txt"
    failure = Failure("resnet18, seed 1", "0123", "loss is nan", log)
    terminal = terminal_of(80, monkeypatch)
    print_answers(Screen(), [], [failure], [("resnet18, seed 0", tmp_path / "log.txt")])
    assert terminal.getvalue().splitlines() == [
        "",
        "What failed:",
        "  resnet18, seed 1: loss is nan",
        "    log: work/runs/0123/log.txt",
        "",
        "Logs:",
        "  resnet18, seed 0: log.txt",
    ]


def test_the_answer_as_data_has_rows_failures_and_pages(reproduced, capsys):
    assert main([*REPRODUCE, "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert set(content) == {"answers", "failures"}
    (answer,) = content["answers"]
    assert (answer["paper"], answer["profile"]) == ("nkd", "mini")
    assert {row["claim"] for row in answer["rows"]} == set(CLAIMS)
    (own,) = [row for row in answer["rows"] if row["claim"] == CLAIM]
    assert (own["n"], own["gain_verdict"]) == (3, "GAIN")
    assert answer["pages"] == ["results/nkd.md", "results/nkd.csv"]
    assert content["failures"] == []


def test_elsewhere_report_prints_the_paths_of_what_it_writes(reproduced, capsys):
    assert main(["report", "--paper", "nkd"]) == 0
    assert capsys.readouterr().out.splitlines() == ["results/nkd.md", "results/nkd.csv"]


DATA = {
    "list": ("list", "--paper", "mgd", "--format", "json"),
    "show": ("show", "--paper", "mgd", "--format", "json"),
    "plan": ("plan", "--claim", CLAIM, "fgd-retinanet-r50-r101", "--profile", "paper", "--format", "json"),
    "audit": ("audit", "--claim", CLAIM, "--format", "json"),
    "weights": ("weights", "list", "--format", "json"),
    "status": ("status", "--format", "json"),
    "reproduce": (*REPRODUCE, "--format", "json"),
}


@pytest.mark.parametrize("verb", DATA)
def test_the_keys_of_data_are_documented(verb, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUITE_RESULTS", "results")
    monkeypatch.setenv("SUITE_WORK", "work")
    with SCENES[verb].laid_out(monkeypatch):
        assert main(DATA[verb]) == SCENES[verb].status
    content = json.loads(capsys.readouterr().out)
    text = DOCUMENT.read_text(encoding="utf-8")
    section = text.partition(f"\n### {verb}")[2].partition("\n### ")[0]
    documented = set(re.findall(r"`(\w+)`", section))
    entries = content if isinstance(content, list) else [content]
    keys = {key for entry in entries for key in entry}
    keys |= {
        key
        for entry in entries
        for value in entry.values()
        if isinstance(value, list) and verb != "list"
        for row in value
        if isinstance(row, dict)
        for key in row
    }
    # The rows of an answer are those of the frame, which documents its own columns.
    assert keys - documented == set()


def test_output_goes_to_a_file_and_its_name_is_printed(tmp_path, capsys):
    file = tmp_path / "new" / "claims.csv"
    words = ["list", "--paper", "mgd", "--format", "csv"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert main([*words, "--output", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}\n"
    assert file.read_text(encoding="utf-8") == printed


def test_a_verb_that_fails_leaves_the_output_file_as_it_was(tmp_path, capsys):
    file = tmp_path / "claims.csv"
    file.write_text("precious", encoding="utf-8")
    assert main(["list", "--paper", "mdg", "--output", str(file)]) == 2
    assert file.read_text(encoding="utf-8") == "precious"
    (tmp_path / "link").symlink_to(file)
    assert main(["list", "--paper", "mgd", "--output", str(tmp_path / "link")]) == 0
    assert (tmp_path / "link").is_symlink()
    assert file.read_text(encoding="utf-8").startswith("mgd: ")


def test_output_replaces_nothing_but_files(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path, tmp_path / "pipe"):
        assert main(["list", "--paper", "mgd", "--output", str(file)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err == (
            f"suite: cannot write {file} (it exists and is not a file); name another file with --output\n"
        )
    assert main(["list", "--paper", "mgd", "--output", str(tmp_path / "pipe" / "below")]) == 2
    assert capsys.readouterr().err.startswith(f"suite: cannot write {tmp_path / 'pipe' / 'below'} (")


def test_without_argcomplete_a_shell_that_asks_is_answered_by_the_verb_itself(monkeypatch, capsys):
    monkeypatch.setenv("_ARGCOMPLETE", "1")
    monkeypatch.setitem(sys.modules, "argcomplete", None)
    assert main(["show", "mgd-resnet18"]) == 0
    assert "resnet34" in capsys.readouterr().out


def completions(line: str, tmp_path: Path) -> set[str]:
    """What a shell is told that may follow a command line."""
    pytest.importorskip("argcomplete", reason="needs argcomplete: pip install argcomplete")
    answer = tmp_path / "answer"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    subprocess.run([sys.executable, "-m", "suite"], cwd=ROOT, env=environment, check=False)
    return {word.strip() for word in answer.read_text(encoding="utf-8").splitlines()}


def test_a_shell_completes_verbs_options_and_ids(tmp_path):
    assert "reproduce" in completions("distill-repro rep", tmp_path)
    assert "--profile" in completions("distill-repro plan --pr", tmp_path)
    assert {"fgd", "mgd", "nkd"} <= completions("distill-repro plan --paper ", tmp_path)
    assert completions("distill-repro plan --claim mgd-resnet18-spatial-r0p", tmp_path) == {
        "mgd-resnet18-spatial-r0p5"
    }


def test_on_a_real_terminal_the_screen_is_the_one_that_is_kept(tmp_path):
    controller, terminal = pty.openpty()
    words = SCENES["list"].words
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "suite", *words]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=terminal, stderr=terminal)
    os.close(terminal)
    shown = io.BytesIO()
    try:
        while part := os.read(controller, 65536):
            shown.write(part)
    except OSError:  # how a terminal says that nobody is left
        pass
    assert process.wait(timeout=60) == 0
    lines = [line.rstrip() for line in shown.getvalue().decode().splitlines()]
    assert lines == path_of("list").read_text(encoding="utf-8").splitlines()[1:]
