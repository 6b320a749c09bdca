"""The site in a real browser: what a script adds, what is there without, and that everybody can read it."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from urllib.parse import parse_qs

import pytest

pytestmark = pytest.mark.browser

KINDS = ("index", "paper", "claim", "run", "config", "hostile paper", "hostile run")
DESKTOP, NARROW = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
A4 = {"width": 1046, "height": 718}
"""Pixels of the paper between the margins, landscape."""


def texts(page, selector: str) -> list[str]:
    """What is seen of these elements."""
    found: list[str] = page.eval_on_selector_all(
        selector, "all => all.filter(one => one.offsetParent !== null).map(one => one.innerText.trim())"
    )
    return found


def column(page, table: str, heading: str) -> list[str]:
    """The cells of a column that are seen."""
    headings = page.eval_on_selector_all(f"{table} thead th", "all => all.map(one => one.textContent.trim())")
    return texts(page, f"{table} tbody tr td:nth-child({headings.index(heading) + 1})")


def query(page) -> dict[str, list[str]]:
    # Asked of the page itself: it changes its address without telling the driver at once.
    return parse_qs(page.evaluate("location.search.slice(1)"))


@pytest.fixture
def paper(reader, names):
    return reader(viewport=DESKTOP).open(names["paper"])


LARGEST = 'section[id^="table-2-against"] > .wide table'


def test_a_click_on_a_heading_sorts_by_number_and_says_so(paper):
    before = column(paper, LARGEST, "claimed")
    heading = paper.locator(f"{LARGEST} thead th", has_text="claimed").first
    for direction, reverse in (("ascending", False), ("descending", True)):
        heading.locator("button").click()
        assert heading.get_attribute("aria-sort") == direction
        assert column(paper, LARGEST, "claimed") == sorted(before, key=float, reverse=reverse)
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") is None
    assert column(paper, LARGEST, "claimed") == before
    # Numbers are no words: as words, 9 would come behind 10. What is missing comes last, in both directions.
    gain = paper.locator(f"{LARGEST} thead th", has_text="gain measured").locator("button")
    for _ in range(2):
        gain.click()
        cells = column(paper, LARGEST, "gain measured")
        numbers = [float(cell) for cell in cells if cell != "—"]
        assert numbers in (sorted(numbers), sorted(numbers, reverse=True))
        assert set(cells[len(numbers) :]) == {"—"}
        assert len({cell[0] for cell in cells}) > 1


def test_filters_show_what_was_asked_for_and_say_how_much_that_is(paper):
    total = len(texts(paper, "section.chosen > .wide tbody tr"))
    paper.locator('[data-name="verdict"][data-value="LOSS"]').click()
    rows = texts(paper, "section.chosen > .wide tbody tr")
    assert 0 < len(rows) < total
    assert all(row.startswith("LOSS") for row in rows)
    assert texts(paper, ".count") == [f"{len(rows)} of {total} rows shown"]
    assert query(paper)["verdict"] == ["LOSS"]
    paper.locator('[data-name="verdict"][data-value="GAIN"]').click()
    assert len(texts(paper, "section.chosen > .wide tbody tr")) > len(rows)
    paper.locator(".tools input[type=search]").fill("fcos")
    assert all("fcos" in row for row in texts(paper, "section.chosen > .wide tbody tr"))
    paper.locator("button", has_text="Show all").click()
    assert len(texts(paper, "section.chosen > .wide tbody tr")) == total
    assert query(paper) == {}


def test_the_address_keeps_the_state(reader, names):
    page = reader(viewport=DESKTOP).open(names["paper"])
    page.locator('[data-name="verdict"][data-value="GAIN"]').click()
    page.locator(".tools summary").click()
    page.locator('[data-column="role"]').uncheck()
    page.locator(f"{LARGEST} thead th", has_text="claimed").first.locator("button").click()
    page.locator(".tools input[type=search]").fill("faster")
    assert set(query(page)) == {"verdict", "hide", "sort", "q"}
    again = reader(viewport=DESKTOP).open(names["paper"], page.evaluate("location.search"))
    for selector in ("section.chosen > .wide tbody tr", "section.chosen > .wide th", ".count"):
        assert texts(again, selector) == texts(page, selector)
    assert again.locator('[data-name="verdict"][data-value="GAIN"]').get_attribute("aria-pressed") == "true"
    assert not again.locator('[data-column="role"]').is_checked()


def test_a_column_that_is_not_wanted_is_gone_from_every_table(paper):
    paper.locator(".tools summary").click()
    assert "role" in texts(paper, "section.chosen > .wide th")
    paper.locator('[data-column="role"]').uncheck()
    assert "role" not in texts(paper, "section.chosen > .wide th")
    paper.locator('[data-column="role"]').check()
    assert "role" in texts(paper, "section.chosen > .wide th")


def test_the_csv_is_what_is_on_the_screen(paper):
    paper.locator('[data-name="verdict"][data-value="LOSS"]').click()
    paper.locator(".tools summary").click()
    paper.locator('[data-column="role"]').uncheck()
    with paper.expect_download() as started:
        paper.locator("button", has_text="CSV of what is shown").click()
    assert started.value.suggested_filename == "fgd.csv"
    content = started.value.path().read_bytes().decode("utf-8")
    heading, *lines = csv.reader(io.StringIO(content))
    assert heading[:3] == ["table", "verdict", "claim"]
    assert "role" not in heading
    shown = [row.split("\t") for row in texts(paper, "section.chosen > .wide tbody tr")]
    assert [line[1:3] for line in lines] == [row[:2] for row in shown]
    # Numbers stay numbers; what else begins like a formula gets an apostrophe.
    assert re.fullmatch(r"[+-]\d+\.\d+", lines[0][heading.index("gain measured")])
    assert lines[0][heading.index("90 % interval")].startswith("'-")


def test_no_cell_of_the_csv_is_a_formula_whatever_a_claim_is_called(reader, names):
    page = reader(viewport=DESKTOP).open(names["hostile paper"])
    with page.expect_download() as started:
        page.locator("button", has_text="CSV of what is shown").click()
    for line in csv.reader(io.StringIO(started.value.path().read_bytes().decode("utf-8"))):
        for cell in line:
            assert not re.match(r"[=@\t\r]|[+-](?!\d+(\.\d+)?$)", cell)


def test_headings_stay_at_the_top_while_a_table_scrolls(reader, names):
    page = reader(viewport={"width": 1280, "height": 420}).open(names["paper"])
    wide = page.locator(LARGEST).locator("..")
    wide.scroll_into_view_if_needed()
    room = wide.evaluate("one => one.scrollHeight - one.clientHeight")
    assert room > 100
    wide.evaluate("one => { one.scrollTop = 150; }")
    box, head = wide.bounding_box(), page.locator(f"{LARGEST} thead th").first.bounding_box()
    assert head["y"] == pytest.approx(box["y"], abs=2)
    first = page.locator(f"{LARGEST} tbody tr").first.bounding_box()
    assert first["y"] < head["y"]


def overflowing(page, width: int) -> list[str]:
    """What reaches over the right edge, and cannot be scrolled to."""
    found: list[str] = page.evaluate(
        """width => [...document.querySelectorAll("body *")].filter(one => {
            if (one.closest(".wide, pre, .skip") && !one.matches(".wide, pre")) return false;
            return one.getClientRects().length && one.getBoundingClientRect().right > width + 1;
        }).map(one => `${one.tagName} ${one.className} ${one.textContent.slice(0, 40)}`)""",
        width,
    )
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("viewport", [DESKTOP, NARROW], ids=["desktop", "narrow"])
def test_no_page_is_wider_than_the_window(reader, names, kind, viewport):
    page = reader(viewport=viewport).open(names[kind])
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    assert overflowing(page, viewport["width"]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_clipped_in_print(reader, names, kind):
    page = reader(viewport=A4).open(names[kind])
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= A4["width"]
    cut = page.evaluate(
        """width => [...document.querySelectorAll("body *")].filter(one =>
            one.getClientRects().length && one.getBoundingClientRect().right > width + 1
        ).map(one => one.tagName + " " + one.textContent.slice(0, 40))""",
        A4["width"],
    )
    assert cut == []


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="needs pdftotext, of poppler-utils")
def test_a_print_has_every_row_with_its_verdict(reader, names, tmp_path):
    page = reader(viewport=DESKTOP).open(names["paper"])
    rows = [row.split("\t")[:2] for row in texts(page, "section.chosen > .wide tbody tr")]
    page.pdf(path=str(tmp_path / "print.pdf"), prefer_css_page_size=True)
    command = ["pdftotext", "-layout", str(tmp_path / "print.pdf"), "-"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for verdict, claim in rows:
        assert verdict in text
        # A long name takes two lines.
        assert claim[:12] in text
    assert text.count("LOSS") >= sum(verdict == "LOSS" for verdict, _ in rows)


CONTRAST = """() => {
    const channel = value => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const colour = text => {
        const found = text.match(/[\\d.]+/g).map(Number);
        return { rgb: found.slice(0, 3), alpha: found.length > 3 ? found[3] : 1 };
    };
    const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const behind = one => {
        for (; one; one = one.parentElement) {
            const found = colour(getComputedStyle(one).backgroundColor);
            if (found.alpha === 1) return found.rgb;
            if (found.alpha > 0) throw new Error("a background that lets through");
        }
        throw new Error("no background");
    };
    const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    while (words.nextNode()) {
        const one = words.currentNode.parentElement;
        if (!words.currentNode.data.trim() || !one.getClientRects().length) continue;
        const style = getComputedStyle(one);
        const ink = one.closest("svg") && style.fill !== "none" ? style.fill : style.color;
        const [light, dark] = [luminance(colour(ink).rgb), luminance(behind(one))].sort((a, b) => b - a);
        found.push([(light + 0.05) / (dark + 0.05), words.currentNode.data.trim().slice(0, 30), ink]);
    }
    return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_word_has_enough_contrast(reader, names, kind, scheme):
    page = reader(viewport=DESKTOP, color_scheme=scheme).open(names[kind])
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    for button in page.locator("[aria-pressed]").all()[:1]:
        button.click()
    found = page.evaluate(CONTRAST)
    assert len(found) > 20
    assert [entry for entry in found if entry[0] < 4.5] == []
    backgrounds = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (backgrounds == "rgb(255, 255, 255)") == (scheme == "light")


REACHABLE = """() => [...document.querySelectorAll("a[href], button, input, summary, [tabindex='0']")]
    .filter(one => one.checkVisibility())"""


@pytest.mark.parametrize("kind", ["index", "claim", "run", "hostile paper"])
def test_the_keyboard_alone_reaches_everything(reader, names, kind):
    page = reader(viewport=DESKTOP).open(names[kind])
    page.evaluate(f"window.wanted = new Set(({REACHABLE})())")
    count = page.evaluate("window.wanted.size")
    for _ in range(count + 5):
        page.keyboard.press("Tab")
        page.evaluate("window.wanted.delete(document.activeElement)")
        if not page.evaluate("window.wanted.size"):
            break
    assert page.evaluate("[...window.wanted].map(one => one.outerHTML.slice(0, 80))") == []


def test_the_keyboard_alone_sorts_filters_and_scrolls(reader, names):
    page = reader(viewport={"width": 1000, "height": 420}).open(names["paper"])
    heading = page.locator(f"{LARGEST} thead th", has_text="claimed").first
    heading.locator("button").focus()
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    page.locator('[data-name="verdict"][data-value="LOSS"]').focus()
    page.keyboard.press("Space")
    assert query(page)["verdict"] == ["LOSS"]
    page.keyboard.press("Space")
    wide = page.locator(LARGEST).locator("..")
    wide.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("one => one.scrollLeft > 0", arg=wide.element_handle())


@pytest.mark.parametrize("kind", KINDS)
def test_without_script_everything_is_there_to_read(reader, names, kind):
    page = reader(viewport=DESKTOP, java_script_enabled=False).open(names[kind])
    with_script = reader(viewport=DESKTOP).open(names[kind])
    assert page.locator("table tbody tr").count() == with_script.locator("table tbody tr").count()
    assert page.locator(".tools, th button").count() == 0
    assert page.locator("h1").inner_text() == with_script.locator("h1").inner_text()


@pytest.mark.parametrize("kind", ["hostile paper", "hostile run"])
def test_hostile_text_is_text(reader, names, kind):
    page = reader(viewport=DESKTOP).open(names[kind])
    assert page.locator("script").count() == 1
    assert page.locator("img, iframe, object, [onerror]").count() == 0
    assert "<script>alert(1)</script>" in page.locator("body").inner_text()
    assert page.locator("a[href^='javascript' i]").count() == 0


def test_links_lead_from_a_number_to_the_record_in_two_clicks(paper):
    paper.locator(f"{LARGEST} tbody tr", has_text="fgd-retinanet-r50-r101-inherit").locator("td a").nth(
        2
    ).click()
    paper.wait_for_url("**/claims/*.html#runs-mini")
    paper.locator("#runs-mini td a").first.click()
    paper.wait_for_url("**/runs/*.html")
    assert "Record as stored" in texts(paper, "h2")
