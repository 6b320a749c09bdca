"""Sample predictions beside a record: read back whole, and told in one line where they are not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from suite.cli import main
from suite.contract import Found, Sample
from suite.errors import SuiteError
from suite.planning.plan import make_plan
from suite.published.finding import find_claim
from suite.running.execution import Execution
from suite.running.request import RunRequest, read_request, write_request
from suite.store.record import Provenance
from suite.store.records import read_all, write_record
from suite.store.run_folders import RunFolder
from suite.store.samples import read_samples, write_samples
from suite.store.summaries import read_summaries
from tests.cli.refusals import refusal_of
from tests.store.test_records import RUN, record

SAMPLES = [
    Sample(file="test/00/1.png", width=32, height=32, classes=[("00", 91.5), ("01", 4.0)], png="aGk="),
    Sample(
        file="1.png",
        width=64,
        height=32,
        grid=(2, 4),
        objects=[Found(label="7", score=80.0, box=(0.0, 1.5, 2.0, 3.0), mask=[1, 3, 4])],
    ),
    Sample(file="2.png", width=64, height=32, grid=(2, 4), areas={"road": [0, 8]}),
]


@pytest.fixture
def kept(tmp_path: Path):
    """A record with samples, in a store."""
    return write_record(tmp_path, record(samples_sha256=write_samples(tmp_path, RUN, SAMPLES)))


def test_samples_are_read_back_as_they_were_written_and_are_no_record(tmp_path, kept):
    assert read_samples(tmp_path, kept) == SAMPLES
    assert read_all(tmp_path) == [kept]
    (summary,) = read_summaries(tmp_path)
    assert read_samples(tmp_path, summary) == SAMPLES
    assert (tmp_path / f"{RUN}-{kept.samples_sha256[:12]}.samples.jsonl").is_file()


def test_a_record_without_samples_has_none_and_is_written_as_it_always_was(tmp_path):
    written = write_record(tmp_path, record())
    assert read_samples(tmp_path, written) == []
    assert "samples_sha256" not in json.loads((tmp_path / f"{RUN}-01.json").read_text(encoding="utf-8"))


def test_the_check_of_a_store_counts_them_and_tells_altered_ones_in_one_line(tmp_path, kept, capsys):
    assert main(["archive", "check", "--records", str(tmp_path)]) == 0
    assert "1 records, 0 of them with scalars, 1 with sample predictions: all" in capsys.readouterr().out
    (path,) = tmp_path.glob("*.samples.jsonl")
    path.write_bytes(path.read_bytes().replace(b"91.5", b"99.9"))
    with pytest.raises(SuiteError, match="is not the file that its record names"):
        read_samples(tmp_path, kept)
    said = refusal_of(["archive", "check", "--records", str(tmp_path)])
    assert said.startswith(f"{path}: is not the file that its record names: its SHA-256 differs; ")
    assert said.endswith(f"without it run {RUN} has no sample predictions, but its numbers stay valid")


def test_the_request_hands_the_number_on_and_the_run_stays_the_same(tmp_path):
    (run,) = make_plan([find_claim("nkd-resnet18-student")[1]], "smoke", 1).runs.values()
    folder = RunFolder(tmp_path, run.run_id)
    for count in (0, 4):
        write_request(folder, RunRequest.of(run, "cpu", 1, Provenance(command="a test"), samples=count))
        found = read_request(folder)
        assert (found.samples, found.run.run_id, found.run.identity) == (count, run.run_id, run.identity)
        assert Execution.of(found, tmp_path / "records", tmp_path).samples == count


@pytest.mark.parametrize("count", ["-1", "101", "2.5", "many"])
@pytest.mark.parametrize("verb", ["reproduce", "evaluate"])
def test_a_number_that_is_none_is_told_in_one_line(verb, count):
    words = [verb, "--claim", "nkd-resnet18-nkd", "--checkpoint", "x.pth"][: 3 if verb == "reproduce" else 5]
    said = refusal_of([*words, f"--samples={count}"])
    assert said.startswith(f"argument --samples: must be a whole number from 1 to 100, got '{count}'")
