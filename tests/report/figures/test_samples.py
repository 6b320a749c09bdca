"""Figure 8: the same test images beside what teacher, student and distilled student predict."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from suite.contract import Arm, Found, Sample
from suite.report import make_report
from suite.report.figures.samples import samples_figure
from suite.report.markdown import to_markdown
from suite.store.samples import write_samples
from tests.report.figures.conftest import SVG, parsed, texts

EVIL = "<script>alert(1)</script> | $x$ =cmd()"


def png() -> str:
    content = io.BytesIO()
    Image.new("RGB", (4, 2), "white").save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def classified(file: str = "test/07/1.png", name: str = "07", score: float = 90.0, **more) -> Sample:
    return Sample(file=file, width=40, height=20, classes=[(name, score), ("08", 5.0)], **more)


def segmented() -> Sample:
    # Two rows of four cells: 1 to 2 and, over the end of the row, 3 to 5.
    areas = {"road": [1, 1, 1, 3, 2], "sky": [0, 1, 1, 1, 3, 2]}
    return Sample(file="1.png", width=220, height=110, grid=(2, 4), areas=areas)


def detected(**more) -> Sample:
    found = Found(label="cat", score=81.0, box=(10.0, 20.0, 30.0, 40.0), **more)
    return Sample(file="1.png", width=220, height=110, grid=(2, 4), objects=[found])


def test_a_row_for_each_image_and_a_column_for_each_network_in_their_order():
    networks: dict[Arm, list[Sample]] = {
        "distilled": [classified(), classified("test/09/1.png")],
        "student": [classified(score=10.0), classified("test/09/1.png", score=20.0)],
        "teacher": [classified(score=99.0), classified("test/09/1.png", score=98.0)],
    }
    figure = samples_figure("nkd-resnet18-nkd", networks)
    assert figure is not None
    assert figure.name == "samples-nkd-resnet18-nkd"
    assert texts(figure)[:4] == ["image", "teacher", "student alone", "distilled"]
    assert [line.cells for line in figure.table.lines[:3]] == [
        ("test/07/1.png", "teacher", "07 99.0 %, 08 5.0 %"),
        ("test/07/1.png", "student alone", "07 10.0 %, 08 5.0 %"),
        ("test/07/1.png", "distilled", "07 90.0 %, 08 5.0 %"),
    ]
    assert len(figure.table.lines) == 6


def test_only_images_that_every_network_has_are_shown_and_without_any_there_is_no_figure():
    networks: dict[Arm, list[Sample]] = {
        "teacher": [classified(), classified("other.png")],
        "student": [classified()],
    }
    figure = samples_figure("c", networks)
    assert figure is not None
    assert {line.cells[0] for line in figure.table.lines} == {"test/07/1.png"}
    assert samples_figure("c", {"teacher": [classified()], "student": [classified("other.png")]}) is None
    assert samples_figure("c", {"teacher": []}) is None
    assert samples_figure("c", {}) is None


def test_an_image_that_may_be_passed_on_is_in_the_figure_and_another_is_a_frame_with_its_name():
    shown = samples_figure("c", {"student": [classified(png=png())]})
    named = samples_figure("c", {"student": [classified()]})
    assert shown is not None
    assert named is not None
    (image,) = parsed(shown).iter(f"{SVG}image")
    assert image.get("href", "").startswith("data:image/png;base64,")
    assert not list(parsed(named).iter(f"{SVG}image"))
    assert "test/07/1.png" in texts(named)


def test_boxes_lie_where_they_were_found():
    figure = samples_figure("c", {"student": [detected()]})
    assert figure is not None
    (box,) = [each for each in parsed(figure).iter(f"{SVG}rect") if each.get("stroke-width")]
    assert [box.get(name) for name in ("x", "y", "width", "height")] == ["10.0", "20.0", "20.0", "20.0"]
    assert "cat 81" in texts(figure)
    assert figure.table.lines[0].cells[2] == "cat 81 %"


def test_label_maps_cover_their_cells_row_by_row():
    figure = samples_figure("c", {"student": [segmented()]})
    assert figure is not None
    road, sky = (path.get("d") for path in parsed(figure).iter(f"{SVG}path"))
    assert road == "M55.0 0.0H110.0v55.0H55.0zM165.0 0.0H220.0v55.0H165.0zM0.0 55.0H110.0v55.0H0.0z"
    assert sky == "M0.0 0.0H55.0v55.0H0.0zM110.0 0.0H165.0v55.0H110.0zM110.0 55.0H220.0v55.0H110.0z"
    assert figure.table.lines[0].cells[2] == "road 50.0%, sky 50.0%"


@pytest.mark.parametrize("sample", [classified(EVIL, EVIL), detected(mask=[0, 2, 6]), segmented()])
def test_a_figure_is_one_described_image_and_hostile_names_are_text(sample):
    figure = samples_figure(EVIL, {"student": [sample]})
    assert figure is not None
    root = parsed(figure)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert root.get("role") == "img"
    assert root.get("aria-labelledby", "").split() == ids[:2]
    assert len(set(ids)) == len(ids)
    assert {f"#{name}" for name in ids} >= {use.get("href") for use in root.iter(f"{SVG}use")}
    assert not list(root.iter(f"{SVG}script"))
    assert samples_figure(EVIL, {"student": [sample]}) == figure


def test_samples_beside_records_are_a_chapter_of_the_illustrated_page(store, paper, pair_records):
    records = pair_records([69.9], [71.9])
    folder = store([]) / "records"
    kept = [
        record.model_copy(
            update={"samples_sha256": write_samples(folder, record.run_id, [classified(png=png())])}
        )
        for record in records
    ]
    store(kept)
    report = make_report(paper, kept)
    html = report.text("html")
    assert "Sample predictions" in html
    assert html.count('id="samples-tiny-kd-title"') == 1
    assert "Sample predictions" not in to_markdown(report.page)
