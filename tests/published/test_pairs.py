"""One pair across the literature: every number of it, who printed it, and whose run it was."""

from __future__ import annotations

import itertools

import pytest

from suite.errors import SuiteError
from suite.published.claims import Claim
from suite.published.finding import find_claim, load_papers, select
from suite.published.literature import load_literature
from suite.published.metrics import load_metrics
from suite.published.pairs import (
    STUDENT_ALONE,
    TEACHER_ALONE,
    Pair,
    Value,
    find_pair,
    known_pairs,
    pair_of,
    published_values,
    values_of,
)

JUDGED = sorted({pair_of(claim) for _, claim in select() if claim.judged and claim.kind.distilled})


def rows(pair: Pair) -> dict[str, list[Value]]:
    return {
        row: list(group) for row, group in itertools.groupby(values_of(pair), key=lambda value: value.row)
    }


def one(name: str, row: str, metric: str, dataset: str | None = None) -> Value:
    (value,) = [v for v in values_of(find_pair(name, dataset)) if (v.row, v.metric) == (row, metric)]
    return value


@pytest.mark.parametrize("pair", JUDGED, ids=lambda pair: pair.name)
def test_every_pair_of_the_papers_has_all_numbers_of_its_claims(pair):
    assert find_pair(pair.name, pair.dataset) == pair
    found = {(value.claim, value.metric, value.printed) for value in values_of(pair)}
    for _, claim in select():
        if claim.kind.distilled and pair_of(claim) == pair:
            printed = {(claim.id, n, text) for s in claim.sources for n, text in s.printed.items()}
            assert printed <= found, claim.id
    assert any(not value.alone for value in values_of(pair))


def test_no_published_number_of_a_pair_is_lost():
    shown = {(value.row, value.metric) for pair in known_pairs() for value in values_of(pair)}
    literature = {
        (row.row, metric) for _, _, row in load_literature().rows() for metric in {*row.metrics, *row.gains}
    }
    assert literature <= shown
    quoted = {
        (row.row, metric)
        for paper in load_papers().values()
        for row in paper.quoted
        for metric in {*row.metrics, *row.gains}
    }
    assert quoted <= shown


def test_numbers_are_sorted_by_method_and_then_value_behind_the_models_alone():
    found = values_of(find_pair("pspnet-r101:pspnet-r18"))
    alone = [value.alone for value in found]
    assert alone == sorted(alone, reverse=True)
    keys = [(v.method.casefold(), float(v.printed or "inf")) for v in found if not v.alone]
    assert keys == sorted(keys)
    same = [
        v for v in values_of(find_pair("resnet50:mobilenet-v1")) if v.method == "DKD" and v.printed == "72.05"
    ]
    assert [value.provenance for value in same] == ["own", "quoted", "quoted"]
    order = list(load_metrics())
    boxes = [v for v in values_of(find_pair("retinanet-x101:retinanet-r50")) if v.method == "FKD"]
    assert [order.index(v.metric) for v in boxes] == sorted(order.index(v.metric) for v in boxes)


def test_whose_run_a_number_is_and_who_prints_it():
    pair = "retinanet-x101:retinanet-r50"
    own = one(pair, "fgd-t3-retina-fgd", "box_AP")
    assert (own.provenance, own.printed_by, own.claim) == ("own", "FGD", "fgd-retinanet-r50-x101")
    assert own.source.startswith("Focal and Global Knowledge Distillation for Detectors (CVPR 2022): upper ")
    assert (own.student, own.gain, own.gain_printed) == ("37.4", "3.0", True)
    rival = one(pair, "fgd-t3-retina-fkd", "box_AP")
    assert (rival.method, rival.provenance) == ("FKD", "quoted")
    copied = one(pair, "mgd-sec-retina-fgd", "box_AP")
    assert (copied.method, copied.printed, copied.provenance) == ("FGD", "40.7", "quoted")
    assert (copied.claim, copied.claimed_by) == ("mgd-retinanet-r50-fgd", "a copy of MGD's table")
    passed_on = one(pair, "mgd-fig1-mgd", "box_AP")
    assert (passed_on.method, passed_on.printed, passed_on.provenance) == ("MGD", "41.0", "quoted")
    assert passed_on.printed_by.startswith("caption of the figure in the alphaxiv.org overview")
    rerun = one(pair, "fgd-repro-mmrazor-retina", "box_AP")
    assert (rerun.provenance, rerun.teacher, rerun.gain) == ("re-run", "41.0", "3.1")
    literature = one(pair, "pkd-retinanet-r50", "box_AP")
    assert (literature.provenance, literature.printed_by) == ("own", "mmrazor, PKD")
    assert literature.settings == {"loss_weight": 10}
    assert (
        one(pair, "cwd-retinanet-r50", "box_AP").discrepancies[1].startswith("CWD on RetinaNet: 40.5 or 40.8")
    )


def test_a_printed_gain_is_told_from_a_difference_and_a_gain_may_stand_alone():
    printed = one("gfl-r101:gfl-r50", "crosskd-gfl-r50", "box_AP")
    assert (printed.gain, printed.gain_printed) == ("3.5", True)
    derived = one("gfl-r101:gfl-r50", "ld-gfl-r50", "box_AP")
    assert (derived.gain, derived.gain_printed) == ("1.0", False)
    gain = one("resnet34:resnet18", "nkd-t5-target", "top1")
    assert (gain.printed, gain.gain, gain.student) == (None, "1.16", "69.90")


def test_sources_of_a_claim_that_print_other_numbers_are_numbers_of_their_own():
    pair = find_pair("retinanet-x101:retinanet-r50")
    small = [v for v in values_of(pair) if v.claim == "fgd-retinanet-r50-student" and v.metric == "box_AP_S"]
    assert [value.printed for value in small] == ["20.0", "20.6"]
    assert {"table 4; table 5" in value.source for value in small} == {True, False}


def test_both_models_alone_stand_beside_a_pair_whoever_measured_them():
    found = values_of(find_pair("pspnet-r101:pspnet-r18"))
    assert [v.printed for v in found if v.method == STUDENT_ALONE] == [
        "69.37",
        "69.85",
        "72.55",
        "74.23",
        "74.87",
    ]
    found = values_of(find_pair("retinanet-x101:retinanet-r50"))
    # A paper from outside may have its own number of the teacher.
    assert {v.row for v in found if v.method == TEACHER_ALONE} >= {
        "mgd-fig1-teacher",
        "fgd-zoo-retina-x101-1x",
    }
    assert {v.dataset for v in known_pairs() if v.name == "resnet18-cifar"} == {"cifar-100", "tiny-imagenet"}
    elsewhere = values_of(find_pair("resnet18-cifar", "tiny-imagenet"))
    assert {value.row for value in elsewhere} == {"zipf-tiny-lsr", "zipf-tiny-tfkd", "zipf-tiny-zipf"}


def test_methods_without_a_teacher_are_found_by_their_student():
    methods = {value.method for value in values_of(find_pair("resnet18-cifar", "cifar-100"))}
    assert methods >= {"USKD", "Tf-KD (self-training)", "label smoothing", "Zipf's label smoothing"}
    assert "NKD" not in {value.method for value in values_of(find_pair("mobilenet-v1"))}


def test_a_number_that_a_claim_takes_from_the_literature_stands_once_and_says_whose_it_is():
    _, claim = find_claim("mgd-resnet18")
    numbers = {"top1": "71.68"}
    source = {
        "row": "paddleclas-r18-afd",
        "table": "dist-imagenet",
        "provenance": "secondary",
        "where": "README",
    }
    fields = {
        **{name: getattr(claim, name) for name in ("task", "dataset", "teacher", "student", "baseline")},
        **{"id": "mgd-resnet18-afd", "role": "rival", "method": "AFD", "metrics": numbers},
        **{"claimed_by": "PaddleClas", "sources": [source | {"printed": numbers}]},
    }
    papers = load_papers()
    claims = [*papers["mgd"].claims, Claim.model_validate(fields)]
    changed = {**papers, "mgd": papers["mgd"].model_copy(update={"claims": claims})}
    found = [value for _, value in published_values(changed.values(), load_literature())]
    (value,) = [value for value in found if value.row == "paddleclas-r18-afd"]
    assert (value.claim, value.claimed_by, value.printed_by) == (
        "mgd-resnet18-afd",
        "PaddleClas",
        "PaddleClas",
    )
    # It stays what its document says, with the student of that document.
    assert (value.provenance, value.student, value.gain) == ("re-run", "70.80", "0.88")


@pytest.mark.parametrize(
    ("name", "dataset", "says"),
    [
        ("retinanet-x101:retinanet-r5", None,
         "no number is known for a pair 'retinanet-x101:retinanet-r5' (TEACHER:STUDENT); "
         "did you mean 'retinanet-x101:retinanet-r50'"),
        ("wrn-40-2", None, "no number is known for a pair 'wrn-40-2' (TEACHER:STUDENT); did you mean"),
        ("vgg13:vgg8", None, "vgg13:vgg8 has numbers on cifar-100 and cub-200; choose one with --dataset"),
        ("vgg13:vgg8", "cub", "vgg13:vgg8 has no number on 'cub'; did you mean 'cub-200'?"),
        ("gfl-r101:gfl-r50", "cifar-100", "gfl-r101:gfl-r50 has no number on 'cifar-100'; known: coco-2017"),
    ],
)  # fmt: skip
def test_a_pair_that_is_unknown_or_not_one_is_refused_with_what_there_is(name, dataset, says):
    with pytest.raises(SuiteError) as caught:
        find_pair(name, dataset)
    assert str(caught.value).startswith(says)
