"""The literature: equal to its source number by number, refused where it breaks, and taken over by claims."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import yaml

from suite import paths
from suite.errors import SuiteError
from suite.published.checks import read_papers
from suite.published.finding import load_papers
from suite.published.literature import Document, PairRows, Row, load_literature, read_literature
from suite.published.models import load_models
from tests.published.test_refused_claims import MODELS, RECIPES, TINY

HERE = Path(__file__).parent
TRANSCRIPT = paths.BASELINES / "literature.csv"
SHARED = paths.ROOT.parent / "shared"
SOURCE_FILES = (SHARED / "claims" / "secondary.yaml", SHARED / "rivals-classification.md")

LEFT_OUT = {"uskd-time-range"}
"""Rows of the transcript that are no accuracy: minutes of training."""

NETWORKS = {
    "V8": "vgg8", "V13": "vgg13", "MV2": "mobilenet-v2-cifar", "ShV1": "shufflenet-v1-cifar",
    "ShV2": "shufflenet-v2-cifar", "R50": "resnet50-cifar",
}  # fmt: skip
"""Networks of the matrix whose ids do not follow from their short names."""


def facts() -> dict[str, list[dict[str, str]]]:
    rows: dict[str, list[dict[str, str]]] = defaultdict(list)
    with TRANSCRIPT.open(encoding="utf-8", newline="") as lines:
        for line in csv.DictReader(lines):
            if line["row"] not in LEFT_OUT:
                rows[line["row"]].append(line)
    return dict(rows)


FACTS = facts()
LITERATURE = load_literature()
ROWS: dict[str, tuple[Document, PairRows, Row]] = {
    row.row: (LITERATURE.documents[name], pair, row) for name, pair, row in LITERATURE.rows()
}


def metric_name(name: str) -> str:
    return {"mAP": "box_AP", "mAP_1x": "box_AP@1x"}.get(name, name)


# Against the source files


@pytest.mark.skipif(not SOURCE_FILES[0].exists(), reason="the source files are not beside the checkout")
def test_the_committed_facts_are_those_of_the_source_files():
    command = [sys.executable, "-m", "tests.published.extract_literature", *map(str, SOURCE_FILES)]
    output = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=True).stdout
    assert output == TRANSCRIPT.read_text(encoding="utf-8")


def test_every_row_of_the_transcript_is_a_row_of_the_literature():
    assert set(FACTS) <= set(ROWS)
    assert len(FACTS) > 250


@pytest.mark.parametrize("name", sorted({lines[0]["table"] for lines in FACTS.values()}))
def test_every_number_equals_the_transcript_and_none_was_added(name):
    for row, lines in FACTS.items():
        if lines[0]["table"] != name:
            continue
        _, pair, ours = ROWS[row]
        expected: dict[str, float] = {}
        for line in lines:
            who, _, metric = line["metric"].rpartition(":")
            if metric.endswith("_std"):
                if who:
                    # The spread of a student alone is told in the note.
                    assert line["value"] in str(ours.note)
                    continue
                who, metric = "spread", metric.removesuffix("_std")
            expected[f"{who}:{metric_name(metric)}"] = float(line["value"])
        beside = {"teacher": pair.teacher_metrics, "student": pair.student_metrics}
        groups = {"": ours.metrics, "spread": ours.spread, **beside}
        found = {f"{who}:{key}": float(text) for who, group in groups.items() for key, text in group.items()}
        assert expected.items() <= found.items(), row
        # Beside it the file has what other lists give of the same row: a top-5, and the models alone.
        more = found.keys() - expected.keys()
        assert all(key == ":top5" or key.startswith(("teacher:", "student:", "spread:")) for key in more), row


def test_methods_equal_the_transcript_but_for_what_stands_in_their_notes():
    names = {"KR (knowledge review)": "ReviewKD", "Tf-KD": "Tf-KD (self-training)"}
    names |= {
        "Tf-KD self-training": "Tf-KD (self-training)",
        "Tf-KD manual teacher": "Tf-KD (regularisation)",
    }
    names |= {f"Zipf's LS ({framework})": "Zipf's label smoothing" for framework in ("PyTorch", "MegEngine")}
    for name, (line, *_) in FACTS.items():
        method = line["method"]
        if method.startswith("none ("):
            assert ROWS[name][2].method is None, name
        elif ROWS[name][2].method != names.get(method, method):
            # "CWD (mmrazor)", "DIST, repeated run 1 of 3", "SKDS (called SKD in the note)".
            assert re.match(r"[\w+-]+", method)[0] == ROWS[name][2].method, name  # type: ignore[index]


def test_models_equal_the_transcript():
    titles = {name: model.title for name, model in load_models().items()} | LITERATURE.networks
    for name, (line, *_) in FACTS.items():
        _, pair, _ = ROWS[name]
        for printed, model in ((line["teacher"], pair.teacher), (line["student"], pair.student)):
            assert (not printed) == (model is None), name
            if model is None:
                continue
            if line["file"] == "secondary":
                title = re.sub(r" \(CIFAR.*| of Tf-KD.*", "", titles[model])
                # "ResNet-8x4" is also written "ResNet8x4", and "PSPNet-R18" "PSPNet-Res18".
                title = title.replace("(v1)", "").strip().replace("-", "")
                short = printed.replace("-Res", "-R").replace("-", "")
                assert re.match(rf"{re.escape(title)}(?!\w)", short), name
            else:
                numbers = re.fullmatch(r"(W|R)([\dx-]+)", printed)
                short = {"W": "wrn-", "R": "resnet"}[numbers[1]] + numbers[2] if numbers else ""
                assert model == NETWORKS.get(printed, short), name


def test_numbers_have_the_decimals_that_are_printed_of_their_metric():
    odd = {"rerun-mmrazor-dkd": 3, "at-r18": 1, "skds-checkpoint": 1, "zipf-tiny-lsr": 1, "zipf-tiny-tfkd": 1}
    odd |= {"zipf-tiny-zipf": 1}
    for name, (_, _, row) in ROWS.items():
        for metric, text in [*row.metrics.items(), *row.gains.items()]:
            decimals = odd.get(name, 1 if metric == "box_AP" else 2)
            assert len(text.partition(".")[2]) == decimals, name


def test_releases_that_disagree_are_discrepancies_of_the_rows_that_they_concern():
    concerned: dict[str, set[str]] = defaultdict(set)
    for name, (_, _, row) in ROWS.items():
        for discrepancy in row.discrepancies:
            concerned[discrepancy].add(name)
    assert set(concerned) == {found.id for found in LITERATURE.discrepancies}
    assert concerned["dkd-mobilenet-beta"] == {"own-in-dkd-mv1"}
    assert "beta 2.0 or 0.5" in LITERATURE.discrepancy("dkd-mobilenet-beta").title
    assert "weight 5 on four levels or 10 on five" in LITERATURE.discrepancy("cwd-weight").title
    assert all(found.sources for found in LITERATURE.discrepancies)


def test_a_number_that_is_passed_on_is_never_called_the_method_s_own():
    assert {ROWS[name][0].whose(ROWS[name][2]) for name in ROWS if name.startswith("kdpp-")} == {"quoted"}
    own = [row for document, _, row in ROWS.values() if document.whose(row) == "own"]
    assert {row.method for row in own if row.row.startswith("repdistiller")} == {"CRD"}
    assert Counter(document.whose(row) for document, _, row in ROWS.values()).keys() == {
        "own", "quoted", "re-run", "unstated"
    }  # fmt: skip


# Read strictly

SMALL = """\
networks: {huge: Huge}
datasets: {birds: Birds}
documents:
  readme:
    title: A README
    document: someone/something README.md
    dataset: imagenet-1k
    provenance: own
    pairs:
      - teacher: large
        student: small
        student_metrics: {top1: 69.80}
        rows:
          - {row: lit-kd, method: KD, metrics: {top1: 70.50}, discrepancies: [two]}
      - teacher: huge
        rows:
          - {row: lit-huge, metrics: {top1: 80.00}, provenance: quoted}
  birds:
    title: Birds
    document: a table of birds
    dataset: birds
    provenance: re-run
    pairs:
      - {teacher: huge, student: small, rows: [{row: lit-birds, method: KD, gains: {top1: 1.5}}]}
discrepancies:
  - {id: two, title: One or two, text: Both., sources: [here]}
"""


@pytest.fixture
def baselines(tmp_path: Path) -> Path:
    folder = tmp_path / "papers" / "tiny"
    folder.mkdir(parents=True)
    (folder / "claims.yaml").write_text(TINY, encoding="utf-8")
    (folder / "recipes.yaml").write_text(RECIPES, encoding="utf-8")
    (tmp_path / "models.yaml").write_text(MODELS, encoding="utf-8")
    (tmp_path / "literature.yaml").write_text(SMALL, encoding="utf-8")
    for name in ("metrics.yaml", "tasks.yaml", "datasets.yaml", "roles.yaml"):
        shutil.copy(paths.BASELINES / name, tmp_path / name)
    return tmp_path


def test_a_sound_file_is_read(baselines):
    literature = read_literature(baselines)
    assert [(name, row.row) for name, _, row in literature.rows()] == [
        ("readme", "lit-kd"),
        ("readme", "lit-huge"),
        ("birds", "lit-birds"),
    ]
    whose = [literature.documents[name].whose(row) for name, _, row in literature.rows()]
    assert whose == ["own", "quoted", "re-run"]
    assert next(literature.rows())[2].metrics == {"top1": "70.50"}


def test_no_literature_is_no_fault(baselines):
    (baselines / "literature.yaml").unlink()
    assert list(read_literature(baselines).rows()) == []
    assert "tiny" in read_papers(baselines)


def test_a_folder_outside_adds_to_it_and_may_use_its_networks(baselines, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    row = "{teacher: huge, student: small, rows: [{row: more, method: AT, metrics: {top1: 71.00}}]}"
    text = "documents:\n  more:\n    title: M\n    document: m\n    dataset: birds\n    provenance: own\n"
    (other / "literature.yaml").write_text(f"{text}    pairs: [{row}]\n", encoding="utf-8")
    rows = [row.row for _, _, row in read_literature(baselines, (other,)).rows()]
    assert rows == ["lit-kd", "lit-huge", "lit-birds", "more"]


REFUSALS = yaml.safe_load((HERE / "literature_refusals.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("fault", REFUSALS, ids=[fault["what"] for fault in REFUSALS])
def test_a_broken_file_is_refused_at_its_line(baselines, fault):
    assert SMALL.count(fault["old"]) == 1
    broken = SMALL.replace(fault["old"], fault["new"])
    (baselines / "literature.yaml").write_text(broken, encoding="utf-8")
    line = min(number for number, text in enumerate(broken.splitlines(), 1) if fault["at"] in text)
    with pytest.raises(SuiteError) as caught:
        read_literature(baselines)
    assert re.match(
        rf"{baselines}/literature\.yaml:{line}: (\w+: )?{re.escape(fault['says'])}", str(caught.value)
    )


# Taken over by claims

TAKEN = """\
  - id: tiny-kd
    role: rival
    method: KD
    task: classification
    dataset: imagenet-1k
    teacher: large
    student: small
    metrics: {top1: 70.50}
    claimed_by: the README of KD
    baseline: tiny-student
    sources:
      - {row: lit-kd, table: readme, provenance: secondary, where: README, printed: {top1: 70.50}}
"""


def with_claim(baselines: Path, old: str = "", new: str = "") -> None:
    assert TAKEN.count(old)
    text = TINY.replace("claims:\n", f"claims:\n{TAKEN.replace(old, new, 1)}", 1)
    (baselines / "papers" / "tiny" / "claims.yaml").write_text(text, encoding="utf-8")


def test_a_claim_takes_a_number_over_and_says_whose_it_is(baselines):
    with_claim(baselines)
    claim = read_papers(baselines)["tiny"].claims[0]
    assert claim.claimed_by == "the README of KD"
    assert claim.label == "KD, claimed by the README of KD"


def test_a_claim_has_the_discrepancies_of_the_rows_that_it_takes(baselines):
    assert [found.id for found in read_papers(baselines)["tiny"].discrepancies] == ["two-alphas"]
    with_claim(baselines)
    paper = read_papers(baselines)["tiny"]
    assert paper.claims[0].discrepancies == ["two"]
    assert paper.discrepancy("two").text == "Both."
    assert paper.claims_with("two") == paper.claims[:1]


def test_a_network_that_is_its_own_teacher_may_have_none_in_its_document(baselines):
    path = baselines / "papers" / "tiny" / "recipes.yaml"
    path.write_text(RECIPES.replace("teacher: large", "teacher: small"), encoding="utf-8")
    text = SMALL.replace("teacher: large\n        student: small", "student: small")
    assert text != SMALL
    (baselines / "literature.yaml").write_text(text, encoding="utf-8")
    with_claim(baselines, "    teacher: large\n", "    teacher: small\n")
    claims = (baselines / "papers" / "tiny" / "claims.yaml").read_text("utf-8")
    claims = claims.replace("    recipe: small-tiny-large\n", "")
    (baselines / "papers" / "tiny" / "claims.yaml").write_text(claims, encoding="utf-8")
    claim = read_papers(baselines)["tiny"].claims[0]
    assert (claim.teacher, claim.student) == ("small", "small")


def test_a_number_that_is_taken_over_gains_over_the_student_of_its_own_document(baselines):
    with_claim(baselines)
    student, claim = (read_papers(baselines)["tiny"].claims[i].metrics["top1"] for i in (1, 0))
    # The document starts from 69.80, the paper's own student from 69.90.
    assert (student.value, claim.value, claim.gain) == (69.9, 70.5, 0.7)
    text = SMALL.replace("metrics: {top1: 70.50},", "metrics: {top1: 70.50}, gains: {top1: 0.75},")
    (baselines / "literature.yaml").write_text(text, encoding="utf-8")
    with_claim(baselines, "printed: {top1: 70.50}", "printed: {top1: 70.50}, gains: {top1: 0.75}")
    assert read_papers(baselines)["tiny"].claims[0].metrics["top1"].gain == 0.75


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("    claimed_by: the README of KD\n", "",
         "claim 'tiny-kd' is printed only by others; say in 'claimed_by' whose it is"),
        ("provenance: secondary", "provenance: paper",
         "claim 'tiny-kd' is printed by its own paper; leave out 'claimed_by'"),
        ("table: readme", "table: birds", "row 'lit-kd' is of 'readme'; name that as the table"),
        ("row: lit-kd", "row: lit-birds", "row 'lit-birds' is of 'birds'; name that as the table"),
        ("    teacher: large\n", "", "row 'lit-kd' is not about the models of 'tiny-kd'; name another row"),
        ("row: lit-kd", "row: lit-none", "there is no table 'readme'; "),
    ],
)  # fmt: skip
def test_what_a_claim_takes_over_wrongly_is_refused(baselines, old, new, says):
    with_claim(baselines, old, new)
    with pytest.raises(SuiteError, match=rf"papers/tiny/claims\.yaml:\d+: (claims: )?{re.escape(says)}"):
        read_papers(baselines)


def test_a_claim_cannot_change_the_number_that_it_takes_over(baselines):
    text = TAKEN.replace("70.50", "70.60")
    claims = TINY.replace("claims:\n", f"claims:\n{text}", 1)
    (baselines / "papers" / "tiny" / "claims.yaml").write_text(claims, encoding="utf-8")
    with pytest.raises(SuiteError, match="row 'lit-kd' of the literature has other numbers; write those"):
        read_papers(baselines)


def test_a_row_of_a_paper_cannot_have_the_id_of_one_of_the_literature(baselines):
    with_claim(baselines)
    path = baselines / "papers" / "tiny" / "claims.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("row: tiny-quote", "row: lit-birds"), "utf-8")
    with pytest.raises(
        SuiteError, match="id 'lit-birds' is already in use in the literature; give it another"
    ):
        read_papers(baselines)


def test_no_row_of_the_papers_has_the_id_of_one_of_the_literature():
    papers = load_papers().values()
    sources = (source for paper in papers for claim in paper.claims for source in claim.sources)
    rows = {source.row for source in sources if source.provenance != "secondary"}
    rows |= {protocol.row for paper in papers for protocol in paper.protocols}
    rows |= {quoted.row for paper in papers for quoted in paper.quoted}
    assert not rows & set(ROWS)


def test_papers_without_such_claims_are_read_without_the_literature(baselines):
    (baselines / "literature.yaml").write_text("documents: 1\n", encoding="utf-8")
    assert "tiny" in read_papers(baselines)
    with_claim(baselines)
    with pytest.raises(SuiteError, match=r"literature\.yaml:1: documents: "):
        read_papers(baselines)
