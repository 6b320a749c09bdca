"""The published claims: equal to their source number by number, consistent among themselves, and findable."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from suite import paths
from suite.catalogue import papers_folders
from suite.errors import SuiteError
from suite.published.claims import Claim, Paper, Protocol, Quoted, Source
from suite.published.finding import find_claim, find_paper, load_papers, select
from suite.published.literature import load_literature
from suite.published.models import load_models
from suite.published.roles import load_roles

HERE = Path(__file__).parent
SOURCE_FILES = paths.ROOT.parent / "shared" / "claims"

NAMES = {"mAP": "box_AP", "mAR": "box_AR", "box_mAP": "box_AP", "mask_mAP": "mask_AP"}
"""Metrics that the source files call otherwise; AP and AR by size lack only the ``box_``."""

METHODS = {
    "fgd-t4-both": "FGD",  # "focal + global", which is FGD
    "fgd-t5-both": "focal loss only",  # both attentions, which is the focal loss of table 4
    **{f"fgd-t7-T{t.replace('.', 'p')}": f"FGD at T = {t}" for t in ("0.3", "0.8", "1.0", "1.2")},
    **{f"nkd-vitkd-deit-{size}-vitkd": "ViTKD" for size in "tsb"},  # "ViTKD (features only)"
    "mgd-t4-psp-feat": "MGD",  # "MGD (feature loss)", which the README calls MGD
    "mgd-readme-dlv3-mgd": "MGD + logit distillation",  # "MGD", with the logit term in its config
}
"""Rows whose method has a clearer name among the claims."""

IN_THREADS = {"mgd-fig5-l0", "mgd-fig5-l05", "mgd-t4-psp-feat", "mgd-t4-psp-logit", "uskd-cifar-r18"}
"""Numbers of the authors that were seen in threads which an author answered, and are claims all the same."""


def metric_name(name: str) -> str:
    return NAMES.get(name, f"box_{name}" if re.match(r"A[PR]_", name) else name)


TRANSCRIPTS = [folder / "rows.csv" for folder in papers_folders()]
"""Of every paper in sight: those of a folder in ``SUITE_PAPERS`` are held against theirs too."""

COMMITTED = [path for path in TRANSCRIPTS if path.is_relative_to(paths.BASELINES)]


def facts() -> dict[str, list[dict[str, str]]]:
    rows: dict[str, list[dict[str, str]]] = defaultdict(list)
    for path in TRANSCRIPTS:
        with path.open(encoding="utf-8", newline="") as lines:
            for line in csv.DictReader(lines):
                rows[line["row"]].append(line)
    return dict(rows)


FACTS = facts()
TAKEN = {row.row for _, _, row in load_literature().rows()}
"""Rows of the literature, which claims may take over; they have a transcript of their own."""


def own_sources(claim: Claim) -> list[Source]:
    """The sources of a claim that are rows of its paper's transcript."""
    return [source for source in claim.sources if source.row not in TAKEN]


def numbers_of_facts(row: str) -> dict[str, float]:
    """``metric``, ``gain:metric``, ``teacher:metric`` and ``student:metric`` of a row of the source files."""
    numbers: dict[str, float] = {}
    for line in FACTS[row]:
        who, _, name = line["metric"].rpartition(":")
        if name.endswith("_gain"):
            who, name = "gain", name.removesuffix("_gain")
        if name:
            # PaddleDetection gives its student twice, trained 1x and 2x.
            name, _, schedule = name.partition("_") if name in {"mAP_1x", "mAP_2x"} else (name, "", "")
            key = metric_name(name) + (f"@{schedule}" if schedule else "")
            numbers[f"{who}:{key}" if who else key] = float(line["value"])
        if line["gain"]:
            numbers[f"gain:{metric_name(name)}"] = float(line["gain"])
    return numbers


def numbers_of_baselines() -> dict[str, dict[str, float]]:
    """The same of every row that claims and quoted numbers name."""
    rows: dict[str, dict[str, float]] = {}
    for paper in load_papers().values():
        groups = [
            (s.row, {"": s.printed, "gain:": s.gains}) for claim in paper.claims for s in own_sources(claim)
        ]
        groups += [(protocol.row, {}) for protocol in paper.protocols]
        for q in paper.quoted:
            beside = {"teacher:": q.teacher_metrics, "student:": q.student_metrics}
            groups.append((q.row, {"": q.metrics, "gain:": q.gains, **beside}))
        for row, printed in groups:
            rows[row] = {
                f"{who}{name}": float(text) for who, group in printed.items() for name, text in group.items()
            }
    return rows


def claims_by_row() -> dict[str, Claim]:
    return {
        s.row: claim for paper in load_papers().values() for claim in paper.claims for s in own_sources(claim)
    }


def others(paper: Paper) -> list[Protocol | Quoted]:
    return [*paper.protocols, *paper.quoted]


# Against the source files


@pytest.mark.skipif(
    not SOURCE_FILES.is_dir(), reason="the source files of the claims are not beside the checkout"
)
@pytest.mark.parametrize("transcript", COMMITTED, ids=lambda path: path.parent.name)
def test_the_committed_facts_are_those_of_the_source_files(transcript):
    source = SOURCE_FILES / f"{transcript.parent.name}.yaml"
    command = [sys.executable, str(HERE / "extract_published_rows.py"), str(source)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output == transcript.read_text(encoding="utf-8")


def test_every_paper_has_a_transcript_of_its_own_rows_and_a_readme():
    for path in TRANSCRIPTS:
        with path.open(encoding="utf-8", newline="") as lines:
            assert {line["file"] for line in csv.DictReader(lines)} == {path.parent.name}
        text = (path.parent / "README.md").read_text(encoding="utf-8")
        paper = find_paper(path.parent.name)
        assert paper.title in text
        assert f"https://github.com/{paper.code}" in text
        assert all(f"`{discrepancy.id}`" in text for discrepancy in paper.discrepancies)


def test_every_row_of_the_source_files_is_accounted_for_exactly_once():
    rows = Counter(
        row
        for paper in load_papers().values()
        for row in (
            *(source.row for claim in paper.claims for source in own_sources(claim)),
            *(protocol.row for protocol in paper.protocols),
            *(quoted.row for quoted in paper.quoted),
        )
    )
    assert rows == Counter(dict.fromkeys(FACTS, 1))


def test_rows_become_claims_protocols_or_quoted_numbers_by_their_provenance():
    hyperparameters = {
        table.id for p in load_papers().values() for table in p.tables if table.kind == "hyperparameters"
    }
    protocols = {protocol.row: protocol for paper in load_papers().values() for protocol in paper.protocols}
    quoted = {row.row for paper in load_papers().values() for row in paper.quoted}
    claimed = claims_by_row()
    for row, (line, *_) in FACTS.items():
        if line["provenance"] == "config" or line["table"] in hyperparameters:
            assert protocols[row].provenance == line["provenance"]
        elif row in quoted:
            assert line["provenance"] == "secondary", row
            assert row not in IN_THREADS
        else:
            source = next(source for source in claimed[row].sources if source.row == row)
            assert source.provenance == ("thread" if row in IN_THREADS else line["provenance"]), row
    for row in IN_THREADS:
        paper = find_paper(FACTS[row][0]["file"])
        assert f"{paper.code} issue" in paper.table(FACTS[row][0]["table"]).source, row


@pytest.mark.parametrize("paper", [path.parent.name for path in TRANSCRIPTS])
def test_every_number_equals_the_source_and_none_was_added(paper):
    ours = numbers_of_baselines()
    for row, (line, *_) in FACTS.items():
        if line["file"] != paper:
            continue
        expected = numbers_of_facts(row)
        if row in claims_by_row():
            # The accuracy of the teacher that a table prints beside its rows is the teacher's own claim.
            expected = {name: number for name, number in expected.items() if not name.startswith("teacher:")}
        assert ours[row] == expected, row


def test_teacher_accuracies_printed_beside_claims_are_those_of_the_teacher_claims():
    checked = set()
    for row, claim in claims_by_row().items():
        teachers = [
            {str(name): metric.value for name, metric in other.metrics.items()}
            for other in find_claim(claim.id)[0].claims
            if other.role == "teacher" and same_model(FACTS[row][0]["teacher"], other.teacher)
        ]
        for name, number in numbers_of_facts(row).items():
            if name.startswith("teacher:"):
                assert [metrics[name.removeprefix("teacher:")] for metrics in teachers] == [number], row
                checked.add(row)
    with_teachers = {
        row for row, lines in FACTS.items() if any(x["metric"].startswith("teacher:") for x in lines)
    }
    assert checked == with_teachers & set(claims_by_row()) != set()


def test_tables_roles_and_config_paths_equal_the_source():
    claimed = claims_by_row()
    for paper in load_papers().values():
        sources = [(source.row, source.table) for claim in paper.claims for source in own_sources(claim)]
        for name, table in [*sources, *((row.row, row.table) for row in others(paper))]:
            assert (paper.id, table) == (FACTS[name][0]["file"], FACTS[name][0]["table"]), name
        for row in others(paper):
            fact = FACTS[row.row][0]
            assert (row.upstream_config or "") == fact["upstream_config"], row.row
        for quoted in paper.quoted:
            assert (quoted.kind == "rival") == (FACTS[quoted.row][0]["role"] == "rival"), quoted.row
    for name, claim in claimed.items():
        assert claim.role == FACTS[name][0]["role"], name
        assert FACTS[name][0]["upstream_config"] in {"", claim.upstream_config}, name
    for _, claim in select():
        released = {FACTS[source.row][0]["upstream_config"] for source in own_sources(claim)} - {""}
        assert released == ({claim.upstream_config} if claim.upstream_config else set())


def test_hyperparameters_equal_the_source():
    for paper in load_papers().values():
        for protocol in paper.protocols:
            assert protocol.hyperparameters == settings(protocol.row), protocol.row
        for quoted in paper.quoted:
            assert quoted.hyperparameters.get("stated", quoted.hyperparameters) == settings(quoted.row), (
                quoted.row
            )
        for claim in paper.claims:
            rows = [source.row for source in own_sources(claim) if source.row != README_OF_PSPNET]
            stated = [of_documents(row) for row in rows]
            assert claim.hyperparameters == {key: value for row in stated for key, value in row.items()}, (
                claim.id
            )
            assert all(row.items() <= claim.hyperparameters.items() for row in stated), claim.id


def settings(row: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(FACTS[row][0]["hyperparameters"])
    return content


def of_documents(row: str) -> dict[str, Any]:
    """Settings by the document that states them: where a row does not say, its config or the figure."""
    found = settings(row)
    if found.keys() <= {"paper", "released_config"}:
        return found
    return {"released_config" if FACTS[row][0]["upstream_config"] else "paper": found}


README_OF_PSPNET = "mgd-readme-psp-mgd"
"""The one row whose config has a setting that its number seems not to be made with: the logit term."""


def test_the_readme_and_the_paper_disagree_on_the_logit_term_of_pspnet_alone():
    claim = claims_by_row()[README_OF_PSPNET]
    assert "segmentation-logits" in claim.discrepancies
    readme, ours = settings(README_OF_PSPNET)["released_config"], claim.hyperparameters["released_config"]
    assert {key for key in readme if readme[key] != ours.get(key)} == {"use_logit", "logit_weight", "logit_T"}
    assert (readme["use_logit"], ours["use_logit"]) == (True, False)


def test_methods_equal_the_source():
    for paper in load_papers().values():
        for row in others(paper):
            method = FACTS[row.row][0]["method"]
            assert row.method == (None if method.startswith("none (") else method), row.row
    inheriting = {
        protocol.upstream_config: protocol.hyperparameters["init_student"]
        for protocol in find_paper("fgd").protocols
        if "init_student" in protocol.hyperparameters
    }
    for name, claim in claims_by_row().items():
        fact = FACTS[name][0]
        if claim.method is None:
            assert fact["role"] in {"teacher", "baseline"}
        elif fact["table"].startswith("fgd-readme"):
            # The README prints what the released config gives, and most configs inherit.
            assert claim.method == ("FGD + inheriting" if inheriting[fact["upstream_config"]] else "FGD"), (
                name
            )
        else:
            assert claim.method == METHODS.get(name, fact["method"]), name


def test_teachers_and_students_equal_the_source():
    for paper in load_papers().values():
        for row in others(paper):
            fact = FACTS[row.row][0]
            assert (row.teacher or "", row.student or "") == (fact["teacher"], fact["student"]), row.row
    for name, claim in claims_by_row().items():
        fact = FACTS[name][0]
        assert same_model(fact["student"], claim.student), name
        # A baseline's row may name the teacher of its neighbours; the student was trained alone all the same.
        assert claim.role == "baseline" or same_model(fact["teacher"], claim.teacher), name


def same_model(printed: str, model: str | None) -> bool:
    """Whether a name of the source files is that of a model; what follows it there is its config."""
    if not printed or model is None:
        return not printed and model is None
    short = re.sub(r"-Res(?:NeXt(?=101))?(?=\d)", lambda found: "-X" if "NeXt" in found[0] else "-R", printed)
    title = re.sub(r", deformable$| \(CIFAR\)$", "", load_models()[model].title)
    return re.match(rf"{re.escape(title)}(?!\w)", short) is not None


def test_numbers_have_the_decimals_that_were_printed():
    for paper in load_papers().values():
        for claim in paper.claims:
            for name, metric in claim.metrics.items():
                usual = 2 if name in {"top1", "top5", "mIoU"} else 1
                assert metric.decimals == usual or claim.claimed_by is not None, claim.id
            printed = [
                text for s in claim.sources for group in (s.printed, s.gains) for text in group.values()
            ]
            decimals = {metric.decimals for metric in claim.metrics.values()}
            assert {len(text.partition(".")[2]) for text in printed} == decimals, claim.id
    assert str(find_claim("nkd-resnet18-student")[1].metrics["top1"]) == "69.90"


# What the claims say


def test_every_paper_has_results_of_its_own_and_the_students_that_they_gain_over():
    for paper in load_papers().values():
        own = [claim for claim in paper.claims if claim.kind.own]
        assert own, paper.id
        assert {claim.baseline for claim in own} - {None} <= {
            claim.id for claim in paper.claims if claim.kind.arm == "student"
        }


def test_one_number_printed_in_many_places_is_one_claim():
    rows = {source.row for source in find_claim("nkd-resnet18-nkd")[1].sources}
    assert rows == {"nkd-abs1-r18", "nkd-abs2-r18", "nkd-readme-r18"}
    rows = {source.row for source in find_claim("fgd-retinanet-r50-x101")[1].sources}
    assert rows == {"fgd-t3-retina-fgd", "fgd-t4-both", "fgd-t7-T0p5"}
    keys = [
        # Who claims a number of others is told by the label.
        (paper.id, claim.role, claim.label, claim.teacher, claim.student, claim.dataset)
        for paper, claim in select()
    ]
    assert max(Counter(keys).values()) == 1


WITHOUT_BASELINE = {
    "mgd-pspnet-r18-cwd-own",
    *(
        f"nkd-resnet18-cifar-{method}"
        for method in ("uskd", "label-smoothing", "tfkd-reg", "tfkd-self", "zipf")
    ),
}
"""Claims whose student alone no source prints that was seen; none is derived from a gain of a third party, or
taken from another code base."""


def test_every_distilled_claim_names_the_student_alone_and_the_printed_teacher():
    for paper, claim in select():
        if claim.kind.distilled:
            assert (claim.baseline is None) == (claim.id in WITHOUT_BASELINE), claim.id
            teachers = [c.id for c in paper.claims if c.role == "teacher" and c.teacher == claim.teacher]
            assert claim.teacher_claim == next(iter(teachers), None), claim.id


def test_printed_gains_are_the_difference_to_the_student_alone():
    printed = {row for row in claims_by_row() if any(line["gain"] for line in FACTS[row])}
    checked = set()
    for _, claim in select():
        for name, metric in claim.metrics.items():
            # What others print gains over the student of their own document.
            if metric.gain is not None and claim.baseline is not None and claim.claimed_by is None:
                alone = find_claim(claim.baseline)[1].metrics[name]
                assert metric.gain == pytest.approx(metric.value - alone.value, abs=1e-6), claim.id
                checked.add(claim.id)
    assert checked >= {claims_by_row()[row].id for row in printed} - WITHOUT_BASELINE


@pytest.mark.parametrize(
    ("claim", "discrepancy", "values"),
    [
        ("fgd-retinanet-r50-student", "retinanet-ap-small", {"20.6", "20.0"}),
    ],
)
def test_sources_that_disagree_keep_their_numbers_beside_a_discrepancy(claim, discrepancy, values):
    paper, found = find_claim(claim)
    assert values <= {text for source in found.sources for text in source.printed.values()}
    assert discrepancy in found.discrepancies
    assert all(value in paper.discrepancy(discrepancy).title for value in values)


def test_values_with_and_without_the_logit_term_are_two_claims_beside_one_discrepancy():
    paper = find_paper("mgd")
    concerned = paper.claims_with("segmentation-logits")
    assert [(claim.student, claim.method, str(claim.metrics["mIoU"])) for claim in concerned] == [
        ("pspnet-r18", "MGD", "73.63"),
        ("pspnet-r18", "MGD + logit distillation", "74.10"),
        ("deeplabv3-r18", "MGD", "76.02"),
        ("deeplabv3-r18", "MGD + logit distillation", "76.31"),
    ]
    title = paper.discrepancy("segmentation-logits").title
    assert all(str(claim.metrics["mIoU"]) in title for claim in concerned)


def test_numbers_differ_between_sources_only_where_a_discrepancy_says_so():
    for _, claim in select():
        for name, metric in claim.metrics.items():
            printed = {source.printed[name] for source in claim.sources if name in source.printed}
            assert printed == {str(metric)} or claim.discrepancies, claim.id


def test_every_known_contradiction_is_a_discrepancy_of_the_claims_that_it_concerns():
    found = {
        paper.id: {d.id: len(paper.claims_with(d.id)) for d in paper.discrepancies}
        for paper in load_papers().values()
    }
    assert all(discrepancies for discrepancies in found.values())
    assert set(found["nkd"]) >= {"tf-nkd-or-uskd", "unmasked-target", "deit3-teachers"}
    assert set(found["mgd"]) >= {"retinanet-teacher-schedule", "segmentation-logits"}
    assert set(found["fgd"]) >= {"table6-teacher", "retinanet-ap-small"}
    # This one concerns released configs without a published number.
    assert [name for group in found.values() for name, claims in group.items() if not claims] == [
        "configs-without-number"
    ]


def test_both_numbers_of_models_with_tf_nkd_and_uskd_carry_the_discrepancy():
    paper = find_paper("nkd")
    text = paper.discrepancy("tf-nkd-or-uskd").text
    concerned = paper.claims_with("tf-nkd-or-uskd")
    students = {method: {c.student for c in concerned if c.method == method} for method in ("tf-NKD", "USKD")}
    assert students["tf-NKD"] == students["USKD"] != set()
    assert len(concerned) == 2 * len(students["USKD"])
    assert all(str(claim.metrics["top1"]) in text for claim in concerned)


def test_every_incomplete_table_is_explained_by_a_gap():
    for paper in load_papers().values():
        incomplete = {table.id for table in paper.tables if not table.complete}
        assert incomplete <= {gap.table for gap in paper.gaps}


def test_every_table_and_every_version_is_used():
    for paper in load_papers().values():
        sources = [source for claim in paper.claims for source in own_sources(claim)]
        tables = {source.table for source in sources} | {row.table for row in others(paper)}
        assert {table.id for table in paper.tables} == tables
        own = [source for source in sources if source.provenance != "secondary"]
        assert set(paper.versions) == {source.version for source in own}


def test_released_configs_apply_to_the_claims_that_name_them():
    for paper, claim in select():
        protocols = paper.protocols_of(claim.id)
        if paper.protocols and claim.upstream_config and claim.role != "teacher":
            assert claim.upstream_config in {protocol.upstream_config for protocol in protocols}, claim.id
        if claim.role in {"teacher", "baseline"}:
            assert not protocols


def test_released_hyperparameters_of_a_claim_are_those_of_its_config():
    for paper, claim in select():
        configs = [p for p in paper.protocols_of(claim.id) if p.upstream_config == claim.upstream_config]
        released = dict(claim.hyperparameters.get("released_config", {}))
        if claim.id == "mgd-pspnet-r18":
            assert released.pop("use_logit") is False
        # A paper of others may state the settings of a config without a transcript of the config.
        if released and paper.protocols:
            assert any(released.items() <= config.hyperparameters.items() for config in configs), claim.id


def test_a_claim_is_judged_where_it_has_a_recipe_and_every_claim_but_a_rival_s_has_one():
    for _, claim in select():
        assert claim.judged == (claim.recipe is not None), claim.id
        assert claim.judged or claim.role == "rival", claim.id


def test_the_rivals_of_the_detectors_and_segmenters_are_judged_but_for_two_that_were_never_released():
    rivals = [claim for paper in ("fgd", "mgd") for _, claim in select(paper, role="rival")]
    dense = [claim for claim in rivals if claim.task != "classification"]
    quoted = {claim.id for claim in dense if not claim.judged}
    assert quoted == {"fgd-faster-rcnn-r50-r101-gid", "fgd-fcos-r50-r101-gid"}
    assert all(str(find_claim(name)[1].note).startswith("Quoted alone") for name in quoted)
    assert {str(claim.method) for claim in dense if claim.judged} == {
        *("FKD", "FGFI", "GID", "FGD", "CWD", "SKDS", "PKD", "CrossKD", "LD"),
    }


def test_settings_that_no_release_states_are_told_of_the_rows_that_need_them():
    marked = {claim.id: str(claim.unreleased) for _, claim in select() if claim.unreleased}
    on_coco = {"fgd-retinanet-r50-r101-fgfi", "fgd-faster-rcnn-r50-r101-fgfi"}
    assert marked.keys() >= {*on_coco, "mgd-faster-rcnn-r50-cwd"}
    assert all("DeFeat" in marked[name] for name in on_coco)
    assert all("taken " in text.lower() or "are those of" in text for text in marked.values())


def test_a_rival_of_two_tables_is_trained_once():
    twice = {"mgd-retinanet-r50-fkd": "fgd-retinanet-r50-x101-fkd"}
    twice |= {"mgd-retinanet-r50-fgd": "fgd-retinanet-r50-x101-inherit"}
    twice |= {"mgd-faster-rcnn-r50-fgd": "fgd-faster-rcnn-r50-cascade-x101"}
    twice |= {"mgd-reppoints-r50-fgd": "fgd-reppoints-r50-x101-inherit"}
    twice |= {
        "mgd-retinanet-r50-cwd": "mgd-retinanet-r50-cwd-own",
        "mgd-pspnet-r18-cwd": "mgd-pspnet-r18-cwd-own",
    }
    for copied, own in twice.items():
        assert find_claim(copied)[1].recipe == find_claim(own)[1].recipe


def test_rivals_on_imagenet_are_made_by_their_own_methods_and_say_who_claims_them():
    on = {
        pair: {c.method: c for _, c in select("nkd", role="rival") if (c.teacher, c.student) == pair}
        for pair in (("resnet34", "resnet18"), ("resnet50", "mobilenet-v1"))
    }
    both = {"KD", "CRD", "WSLD", "SRRL", "ReviewKD", "DKD", "DIST"}
    assert on["resnet34", "resnet18"].keys() == both | {"AT", "RKD", "KD + LSKD"}
    assert on["resnet50", "mobilenet-v1"].keys() == both | {"OFD"}
    assert all(claim.claimed_by and claim.judged for methods in on.values() for claim in methods.values())
    # DKD's own beta, not that of the repository of NKD, in which it is a rival.
    assert "dkd-mobilenet-beta" in on["resnet50", "mobilenet-v1"]["DKD"].discrepancies


def test_rivals_whose_settings_nobody_released_are_marked():
    marked = {claim.id for _, claim in select("nkd") if claim.unreleased}
    assert marked == {"nkd-resnet18-crd", "nkd-mobilenet-v1-crd", "nkd-resnet18-rkd"}
    assert find_claim("nkd-resnet18-rkd")[1].label == "RKD, claimed by mmrazor's re-run, settings unreleased"


def test_models_of_the_240_epochs_are_claimed_by_repdistiller_and_their_students_gain_over_them():
    alone = {
        claim.student or claim.teacher
        for _, claim in select("nkd")
        if claim.method is None and claim.claimed_by == "RepDistiller's README"
    }
    assert len(alone) == 15
    kd = find_claim("nkd-resnet8x4-resnet32x4-kd")[1]
    assert (kd.baseline, kd.teacher_claim) == ("nkd-resnet8x4-student", "nkd-resnet32x4-teacher")
    student = find_claim(str(kd.baseline))[1]
    assert kd.metrics["top1"].gain == pytest.approx(73.33 - 72.50)
    assert str(student.metrics["top1"]) == "72.50"


def test_where_text_and_config_differ_the_claim_says_which_one_its_recipe_follows():
    for _, claim in select():
        if claim.judged and len(claim.hyperparameters) > 1:
            assert (claim.follows is None) == (claim.settings_of is not None), claim.id
    claim = find_claim("fgd-fcos-r50-r101")[1]
    assert find_paper("fgd").settings(claim) == claim.hyperparameters["released_config"]
    assert find_paper("fgd").settings(claim)["gamma"] != claim.hyperparameters["paper"]["gamma"]


def test_ablations_take_the_settings_of_the_row_that_they_vary():
    fgd = find_paper("fgd")
    for paper, claim in select(role="ablation"):
        lender = find_claim(str(claim.settings_of))[1]
        assert paper.settings(claim) == paper.settings(lender) != {}, claim.id
        if claim.teacher != "faster-rcnn-x101":
            assert lender.teacher == claim.teacher, claim.id
    printed = find_claim("fgd-retinanet-r50-x101-t0p3")[1].hyperparameters["paper"]
    assert fgd.settings(find_claim("fgd-retinanet-r50-x101-t0p3")[1])["gamma"] != printed["gamma"]


def test_the_number_of_cifar_100_is_that_of_the_authors_log_and_has_no_gain_or_baseline_of_others():
    paper, claim = find_claim("nkd-resnet18-cifar-uskd")
    (metric,) = claim.metrics.values()
    assert (str(metric), metric.gain, claim.baseline) == ("79.90", None, None)
    quoted = {row.row: (row.kind, row.metrics, row.gains) for row in paper.quoted_about(claim.id)}
    assert quoted == {
        "uskd-cifar-gain": ("quotation", {}, {"top1": "1.32"}),
        "nkd-repro-issue15": ("reproduction", {"top1": "77.90"}, {}),
        "nkd-repro-issue19": ("reproduction", {"top1": "77.91"}, {}),
    }
    # What the gain of the note would make of the student alone is nobody's number.
    printed = {number for numbers in numbers_of_baselines().values() for number in numbers.values()}
    assert 78.58 not in printed


# Finding


def test_papers_and_claims_are_found_by_name():
    assert find_paper("mgd").venue == "ECCV 2022"
    paper, claim = find_claim("nkd-mobilenet-v1-nkd")
    assert (paper.id, claim.teacher, claim.metrics["top1"].value, claim.metrics["top1"].gain) == (
        "nkd", "resnet50", 72.58, 3.37,
    )  # fmt: skip
    assert (claim.label, find_claim(claim.baseline or "")[1].label) == ("NKD", "student alone")


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"paper": "mdg"}, "unknown paper 'mdg'; did you mean 'mgd'?"),
        ({"claims": ["mgd-resnet81"]}, "unknown claim 'mgd-resnet81'; did you mean 'mgd-resnet18'"),
        ({"table": "fgd-t9"}, "unknown table 'fgd-t9'; did you mean 'fgd-t"),
        ({"role": "our"}, "unknown role 'our'; did you mean 'ours'?"),
    ],
)
def test_an_unknown_name_is_answered_with_the_closest_ones(selection, message):
    with pytest.raises(SuiteError) as caught:
        select(**selection)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_selections_narrow_each_other():
    assert len(select()) == sum(len(paper.claims) for paper in load_papers().values())
    assert {claim.role for _, claim in select(paper="fgd", role="rival")} == {"rival"}
    assert [c.id for _, c in select(table="uskd-headline")] == ["nkd-mobilenet-v1-uskd", "nkd-deit-tiny-uskd"]
    third = {source.table for _, claim in select(paper="fgd", table="3") for source in claim.sources}
    assert {"fgd-t3-box", "fgd-t3-mask"} <= third
    wanted = ["mgd-resnet18", "nkd-resnet18-nkd"]
    assert [claim.id for _, claim in select(claims=wanted)] == wanted
    assert [claim.id for _, claim in select(paper="mgd", claims=wanted)] == wanted[:1]
    assert select(paper="mgd", table="mgd-fig5-mask-ratio", role="rival") == []
    assert {claim.role for role in load_roles() for _, claim in select(role=role)} == set(load_roles())
