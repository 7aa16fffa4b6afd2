"""Reports: both renderings say what was put in, and nothing that was put in becomes markup."""

import base64
import re
import struct
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from helpers import watched_page
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pipeline.reporting.blocks import Code, Facts, Figure, File, Gallery, Link, Report, Section, Table, Text, Tile, Wall
from pipeline.reporting.citation import Number, Phrase, Source
from pipeline.reporting.html import render_html
from pipeline.reporting.markdown import escape_markdown, render_markdown
from pipeline.reporting.writing import write_report
from pipeline.store.files import sha256

HOSTILE = (
    "<script>alert('x')</script> \"quoted\" & &amp; `code` | **bold** _it_ [a](javascript:b) {{ 7*7 }} 😀" + "x" * 300
)


def png(width: int = 30, height: int = 20, grey: int = 128, *, per_metre: int = 0) -> bytes:
    """A grey PNG made by hand (PNG specification, 5), with a resolution if one is given."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = (b"\0" + bytes([grey]) * width) * height
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))]
    parts += (
        [chunk(b"tEXt", b"Comment\0" + b"x" * 800), chunk(b"pHYs", struct.pack(">IIB", per_metre, per_metre, 1))]
        if per_metre
        else []
    )
    return b"".join([b"\x89PNG\r\n\x1a\n", *parts, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")])


def wide_table() -> Table:
    columns = ("trial", "val/conditional_accuracy", "val/coverage_relative", "learning_rate", "state", HOSTILE)
    rows = tuple(
        (str(i), f"0.9{i} [0.90, 0.99]", f".{i}", ("1e-2", "3e-3", "9e-4", "2e-4", "5e-5")[i], "finished", HOSTILE)
        for i in range(5)
    )
    return Table(columns, rows, caption=HOSTILE, highlight=frozenset({1}))


def number(value: float, key: str = "val/x") -> Number:
    return Number(value, Source(key, ("0123456789abcdef",), form=".3g"))


def wall(name: str = HOSTILE) -> Wall:
    """Eight tiles of rising beta and falling accuracy, grey by number; the last has no picture and no accuracy."""
    tiles = tuple(
        Tile(
            f"trial-{i}",
            f"trial {i} {name}",
            (("beta", number(2.0**i)), *((("accuracy", number(1 - i / 10 - 1e-9)),) if i < 7 else ()), (name, name)),
            Figure(f"trial-{i}", png(89, 89, 20 * i), f"{name} {i}") if i < 7 else None,
            note=name if i == 7 else "",
            marked=i in (2, 5),
        )
        for i in range(8)
    )
    real = Tile("real", "real images", (), Figure("real", png(89, 89, 200), "real"))
    return Wall(tiles, real, mark="Pareto front", caption=name)


def full_report(name: str = HOSTILE) -> Report:
    """Every kind of block, each with `name` in all its texts."""
    grids = tuple(Figure(f"grid-{i}", png(280, 280, 40 * i), f"{name} {i}", f"{name} · beta {i}") for i in range(5))
    blocks = (
        Text(name),
        Facts((("accuracy", "0.98 ± 0.01"), (name, name))),
        wide_table(),
        Table(("a", "b"), ()),
        Figure("curve", png(1080, 400, per_metre=5669), name, name),
        Code(f"```\n{name}\n````", "bash"),
        Gallery(grids, name),
        wall(name),
        Text(Phrase("see ", Link(name, "#trial-7"), " with ", number(0.5)), lead=True),
        File("table.csv", f"a,b\n{name},1\n", name),
    )
    return Report(name, name, (Section(name, blocks), Section("Empty", ()), Section(name, (Text("again"),))))


class Page(HTMLParser):
    """The elements of a page with their attributes, its texts, and whether every element is closed."""

    VOID = frozenset({"meta", "link", "img", "br", "hr", "wbr", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
            self.texts.append((tag, ""))

    def handle_endtag(self, tag):
        assert tag in self.VOID or self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts.append((self.open[-1], data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, *inside: str) -> str:
        return "".join(data for tag, data in self.texts if tag in inside)


# --- html ---------------------------------------------------------------------------------------------------------


def test_the_page_is_whole_and_asks_for_nothing_outside():
    html = render_html(full_report())
    page = Page(html)
    assert html.startswith("<!doctype html>")
    assert page.all("meta")[0] == {"charset": "utf-8"}
    assert any(meta.get("name") == "viewport" for meta in page.all("meta"))
    addresses = [a[key] for _, a in page.elements for key in ("src", "href", "action", "srcset") if key in a]
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "@import" not in html
    assert "url(" not in html


def test_pictures_carry_their_bytes_and_their_words():
    report = full_report()
    images = Page(render_html(report)).all("img")
    figures = list(report.figures)
    assert [image["alt"] for image in images] == [figure.alt for figure in figures]
    decoded = [base64.b64decode(image["src"].removeprefix("data:image/png;base64,")) for image in images]
    assert decoded == [figure.png for figure in figures]


def test_hostile_names_are_text_in_the_page():
    page = Page(render_html(full_report()))
    assert len(page.all("script")) == 1
    assert page.text("h1") == HOSTILE
    assert page.text("p", "dt", "dd", "td", "th", "figcaption", "code").count(HOSTILE) >= 10
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1))
def test_any_title_is_text_in_the_page(title):
    page = Page(render_html(Report(title, "", (Section("s", (Text(title),)),))))
    assert page.text("h1") == title
    assert page.text("title") == title


def test_the_contents_lead_to_every_section_that_says_something():
    sections = tuple(Section(title, (Text("x"),)) for title in ("Why?", "Why!", "Top", "Contents", "日本", "section 1"))
    page = Page(render_html(Report("t", "", (*sections, Section("Empty", ())))))
    anchors = [link["href"].removeprefix("#") for link in page.all("a")[1:]]
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert anchors == [section["id"] for section in page.all("section")]
    assert len(anchors) == 6
    assert len(ids) == len(set(ids))


def test_a_plot_is_as_wide_as_its_resolution_says():
    assert Figure("plot", png(1080, 400, per_metre=5669), "").size == (720, 267)  # 144 dots per inch
    assert Figure("grid", png(280, 140), "").size == (280, 140)


def test_columns_of_numbers_stand_right():
    cells = [
        "12",
        "-0.5",
        "−3",
        ".98",
        "1,234",
        "1e-3",
        "0.976 [0.97, 0.98]",
        "98.1 %",
        "99.8 nats",
        "3 ± 1",
        "38 / 40",
    ]
    words = ["cvae", "3 of them failed badly", "2e", "512,256 hidden", "v1.2", "3rd"]
    assert Table(("n",), tuple((cell,) for cell in [*cells, "", "–", "nan"])).align == ("right",)
    assert {Table(("w",), ((word,),)).align for word in words} == {("left",)}
    assert Table(("a", "b"), (("–", "1"), ("", "x"))).align == ("left", "left")
    assert Table(("a", "b"), ()).align == ("left", "left")


# --- markdown -----------------------------------------------------------------------------------------------------


def test_a_word_of_usual_length_stays_whole_in_a_table_and_a_long_name_may_break():
    long = "n" * 40
    table = Table(("learned_prior", "class"), (("gaussian", long), ("true", "b")))
    page = Page(render_html(Report("t", "", (Section("s", (table,)),))))
    classes = [(tag, attributes["class"].split()) for tag, attributes in page.elements if tag in ("th", "td")]
    assert [tag for tag, names in classes if "kept" in names] == ["th", "th", "td", "td", "td"]


def rendered(markdown: str) -> Page:
    """What an independent CommonMark parser makes of it, tables and strike-through included."""
    return Page(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown))


def on_one_line(text: str) -> str:
    return " ".join(text.split())


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"])))
def test_any_text_is_itself_after_markdown(text):
    report = Report(text, "", (Section("s", (Text(text), Table(("a", text), (("-", text),), caption=text))),))
    page = rendered(render_markdown(report))
    expected = on_one_line(text)
    assert {tag for tag, _ in page.elements} <= {"h1", "h2", "p", "em", "table", "thead", "tbody", "tr", "th", "td"}
    assert on_one_line(page.text("h1")) == expected
    assert on_one_line(page.text("p")) == expected
    assert on_one_line(page.text("em")) == expected
    assert on_one_line(page.text("td")) == on_one_line(f"- {expected}").replace("- ", "-", 1)


@pytest.mark.parametrize(
    "text", ["- a", "1. a", "12) a", "+ a", "# a", "===", "---", "a ##", "> a", "    a", "&lt;", "~~a~~"]
)
def test_text_that_looks_like_markdown_is_not(text):
    page = rendered(render_markdown(Report("t", text, (Section(text, (Text(text),)),))))
    assert {tag for tag, _ in page.elements} == {"h1", "h2", "p"}
    assert page.text("p") == 2 * text.strip()
    assert page.text("h2").strip() == text.strip()


def test_names_of_settings_stay_readable_in_markdown():
    assert escape_markdown("val/neg_elbo at latent_dim=20") == "val/neg_elbo at latent_dim=20"


def test_hostile_names_are_text_in_markdown():
    page = rendered(render_markdown(full_report()))
    assert "script" not in {tag for tag, _ in page.elements}
    assert [link["href"] for link in page.all("a")] == ["table.csv"]
    assert page.text("h1") == HOSTILE
    assert page.text("li").count(HOSTILE) + page.text("strong").count(HOSTILE) >= 2
    assert page.text("code").count(HOSTILE) == 1
    assert [image["alt"] for image in page.all("img")] == [figure.alt for figure in full_report().figures]


def test_tables_and_galleries_keep_their_shape_in_markdown():
    rows = [line for line in render_markdown(full_report()).splitlines() if line.startswith("|")]
    page = rendered(render_markdown(full_report()))
    assert len(page.all("th")) == 6 + 2 + 4 + 4
    assert len(page.all("td")) == 5 * 6 + (1 + 2) * 4 + (1 + 2) * 4
    assert "| ---: | ---: | ---: | ---: | :--- | :--- |" in rows
    assert sum("**1**" in row for row in rows) == 1


# --- files --------------------------------------------------------------------------------------------------------


def test_every_link_of_the_markdown_is_a_file_with_the_bytes(tmp_path):
    report = full_report()
    markdown, html = write_report(report, tmp_path / "new" / "report")
    links = re.findall(r"\]\((images/[^)]+)\)", markdown.read_text(encoding="utf-8"))
    assert links == [f"images/{figure.name}.png" for figure in report.figures]
    for link, figure in zip(links, report.figures, strict=True):
        assert (markdown.parent / link).read_bytes() == figure.png
    files = [*(f"images/{figure.name}.png" for figure in report.figures), "report.md", "table.csv"]
    beside = {name: sha256(markdown.parent / name) for name in sorted(files)}
    assert html.read_text(encoding="utf-8") == render_html(report, beside)
    assert sorted(path.name for path in markdown.parent.iterdir()) == [
        "images",
        "report.html",
        "report.md",
        "table.csv",
    ]
    assert (markdown.parent / "table.csv").read_text() == f"a,b\n{HOSTILE},1\n"


def test_writing_again_removes_pictures_that_are_gone_and_nothing_else(tmp_path):
    write_report(full_report(), tmp_path)
    (tmp_path / "trials.csv").write_text("kept")
    kept = Figure("curve", png(5, 5), "new")
    write_report(Report("t", "", (Section("s", (kept,)),)), tmp_path)
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["curve.png"]
    assert (tmp_path / "images" / "curve.png").read_bytes() == kept.png
    assert (tmp_path / "trials.csv").exists()


def test_a_figure_name_is_a_file_stem_and_means_one_picture(tmp_path):
    for name in ("../up", "a/b", "", ".hidden", "a b", "<x>"):
        with pytest.raises(AssertionError):
            Figure(name, png(), "")
    twice = Gallery((Figure("same", png(5, 5), ""), Figure("same", png(6, 6), "")))
    with pytest.raises(AssertionError):
        write_report(Report("t", "", (Section("s", (twice,)),)), tmp_path)


def test_reports_need_no_drawing_library():
    heavy = "('matplotlib', 'torch', 'mlflow')"
    code = f"import sys, pipeline.reporting.writing; sys.exit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- a real browser -----------------------------------------------------------------------------------------------


@pytest.fixture
def opened(browser, tmp_path):
    """Opens the full report from file:// and keeps what the browser had to say about it."""
    _, html = write_report(full_report(), tmp_path)
    pages = []

    def open_page(width: int, **options):
        pages.append(watched_page(browser, html, width, **options))
        return pages[-1]

    yield open_page
    for page in pages:
        page.close()


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser_the_report_is_quiet_whole_and_fits(opened, width, scheme):
    page = opened(width, color_scheme=scheme)
    page.wait_for_function("[...document.images].every((image) => image.complete)")
    assert page.evaluate("[...document.images].map((image) => image.naturalWidth)") == [1080] + [280] * 5 + [89] * 8
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.inner_text("h1") == HOSTILE
    assert page.evaluate("document.querySelectorAll('script').length") == 1
    assert all(url.startswith(("file:", "data:")) for url in page.requests)
    assert sum(url.startswith("file:") for url in page.requests) == 1
    assert page.complaints == []


@pytest.mark.browser
def test_in_a_browser_text_has_contrast_in_light_and_dark(opened):
    """At least 4.5 to 1 for text against what it stands on (WCAG 2.1, 1.4.3)."""
    for scheme in ("light", "dark"):
        page = opened(1280, color_scheme=scheme)
        names = ("paper", "card", "ink", "soft", "accent", "mark")
        colours = page.evaluate(
            "(names) => names.map((n) => getComputedStyle(document.documentElement).getPropertyValue('--' + n))", names
        )
        light = {name: luminance(colour.strip()) for name, colour in zip(names, colours, strict=True)}
        for text, ground in (
            ("ink", "paper"),
            ("ink", "card"),
            ("ink", "mark"),
            ("soft", "paper"),
            ("soft", "card"),
            ("accent", "paper"),
        ):
            low, high = sorted([light[text], light[ground]])
            assert (high + 0.05) / (low + 0.05) >= 4.5, (scheme, text, ground)


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.1)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.browser
def test_in_a_browser_a_heading_sorts_its_table_and_the_highlight_moves_along(opened):
    page = opened(1280)
    first_column = "[...document.querySelectorAll('table')[0].tBodies[0].rows].map((row) => row.cells[0].textContent)"
    heading = page.locator("table").first.locator("th button").nth(3)
    heading.click()
    assert page.evaluate(first_column) == ["4", "3", "2", "1", "0"]  # as numbers; as words 2e-4 would come before 9e-4
    assert page.locator("tr.highlight td").first.inner_text() == "1"
    heading.press("Enter")
    assert page.evaluate(first_column) == ["0", "1", "2", "3", "4"]
    assert page.complaints == []


@pytest.mark.browser
def test_in_a_browser_a_picture_opens_large_by_keyboard_and_closes(opened):
    page = opened(390)
    page.locator(".gallery img").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("dialog img").bounding_box()["width"] > 300
    page.keyboard.press("ArrowRight")
    assert page.locator("dialog figcaption").inner_text().endswith("beta 1")
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()
    assert page.complaints == []


@pytest.mark.browser
def test_in_a_browser_without_scripts_nothing_is_missing(opened):
    page = opened(390, java_script_enabled=False)
    assert page.locator("img").count() == 6 + 8
    assert page.locator(".tile .values").first.is_visible()
    assert not page.locator(".controls, .pins, .pin, .tray").locator("visible=true").count()
    assert page.locator("tbody tr").count() == 5 + 1
    assert page.locator("h2").first.inner_text() == HOSTILE


# --- the image wall in a real browser -------------------------------------------------------------------------------

SHOWN = "[...document.querySelectorAll('.tile.trial')].filter((t) => !t.hidden).map((t) => Number(t.id.slice(6)))"


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_on_the_wall_trials_are_sorted_and_filtered_by_every_number(opened, width):
    page = opened(width)
    assert page.evaluate(SHOWN) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert page.locator(".controls output").inner_text() == "8 of 8 shown"
    page.get_by_label("sort by").select_option("accuracy")
    assert page.evaluate(SHOWN) == [6, 5, 4, 3, 2, 1, 0, 7]  # what has no accuracy comes last
    page.get_by_role("button", name="ascending").press("Enter")
    assert page.evaluate(SHOWN) == [0, 1, 2, 3, 4, 5, 6, 7]
    page.get_by_label("sort by").select_option("beta")
    assert page.evaluate(SHOWN) == [7, 6, 5, 4, 3, 2, 1, 0]
    page.locator(".controls summary").press("Enter")
    page.get_by_label("least beta").fill("4")
    page.get_by_label("greatest accuracy").fill("0.7")
    assert page.evaluate(SHOWN) == [6, 5, 4, 3]
    page.get_by_label("least accuracy").fill("0.5")  # what the tile says, though its number is a little less
    assert page.evaluate(SHOWN) == [5, 4, 3]
    page.get_by_label("least accuracy").fill("")
    assert page.locator(".controls output").inner_text() == "4 of 8 shown"
    page.get_by_label("Pareto front only").press("Space")
    assert page.evaluate(SHOWN) == [5]
    assert page.locator("#real").is_visible()
    page.get_by_role("button", name="clear filters").click()
    assert page.evaluate(SHOWN) == [7, 6, 5, 4, 3, 2, 1, 0]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.complaints == []


@pytest.mark.browser
def test_on_the_wall_a_link_shows_its_trial_even_where_it_was_filtered_out(opened):
    page = opened(1280)
    page.get_by_label("Pareto front only").check()
    assert not page.locator("#trial-7").is_visible()
    page.locator(".lead a").click()
    assert page.locator("#trial-7").is_visible()
    assert page.complaints == []


@pytest.mark.browser
def test_on_the_wall_hover_and_focus_show_what_is_known_of_a_trial(opened):
    page = opened(1280)
    values = page.locator("#trial-3 .values")
    assert not values.is_visible()
    page.locator("#trial-3 img").hover()
    assert values.is_visible()
    assert values.locator("dd").first.inner_text() == "8"
    page.mouse.move(0, 0)
    page.locator("#trial-3 img").focus()
    assert values.is_visible()
    assert page.complaints == []


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_on_the_wall_a_picture_opens_large_and_arrows_go_to_the_next_one_shown(opened, width):
    page = opened(width)
    page.get_by_label("Pareto front only").check()
    picture = page.locator("#trial-2 img")
    picture.click()
    dialog = page.locator("dialog")
    assert dialog.locator("strong").inner_text().startswith("trial 2")
    assert dialog.locator("img").bounding_box()["width"] > 300
    page.keyboard.press("ArrowRight")
    assert dialog.locator("strong").inner_text().startswith("trial 5")
    assert "0.5" in dialog.locator(".values").inner_text()
    page.keyboard.press("ArrowRight")
    assert dialog.locator("strong").inner_text() == "real images"
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    page.locator("#real img:focus").wait_for(timeout=5000)
    assert page.complaints == []


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_on_the_wall_two_to_four_are_pinned_side_by_side(opened, width):
    page = opened(width)
    bench = page.locator(".bench figure")
    assert page.locator(".modes button").locator("visible=true").count() == 0
    for i, by in enumerate(["Enter", "Space", "click", "click"]):
        pin = page.locator(f"#trial-{i} .pin")
        pin.click() if by == "click" else pin.press(by)
        assert pin.get_attribute("aria-pressed") == "true"
    assert bench.count() == 4
    sources = "(selector) => [...document.querySelectorAll(selector)].map((image) => image.src)"
    assert page.evaluate(sources, ".bench img") == page.evaluate(sources, ".tile.trial img")[:4]
    page.locator("#trial-4 .pin").click()
    assert bench.count() == 4
    assert page.locator(".hint").inner_text() == "Four images are pinned; unpin one first."
    page.locator("#trial-1 .pin").click()
    assert bench.count() == 3
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.get_by_role("button", name="unpin all").click()
    assert bench.count() == 0
    assert page.locator("#trial-0 .pin").get_attribute("aria-pressed") == "false"
    assert page.complaints == []


NOW = "[...document.querySelectorAll('.bench figure')].findIndex((f) => getComputedStyle(f).visibility === 'visible')"


def wait_for(page, now: int) -> None:
    """Until that picture is the one to be seen. (The page's policy forbids what playwright waits with.)"""
    until = time.monotonic() + 5
    while page.evaluate(NOW) != now:
        assert time.monotonic() < until


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_pinned_pictures_take_turns_at_a_pace_that_can_be_set_and_stopped(opened, width):
    page = opened(width)
    for i in (1, 3):
        page.locator(f"#trial-{i} .pin").click()
    page.get_by_role("button", name="flicker").press("Enter")
    place = "[...document.querySelectorAll('.bench img')].map((i) => JSON.stringify(i.getBoundingClientRect()))"
    assert len(set(page.evaluate(place))) == 1
    page.get_by_label("speed").focus()
    page.keyboard.press("End")
    assert page.locator(".flickering output").inner_text() == "8 per second"
    for now in (0, 1, 0):
        wait_for(page, now)
    page.get_by_role("button", name="pause").press("Enter")
    stopped = page.evaluate(NOW)
    page.wait_for_timeout(500)
    assert page.evaluate(NOW) == stopped
    page.get_by_role("button", name="play").click()
    wait_for(page, 1 - stopped)
    assert page.complaints == []


@pytest.mark.browser
def test_nothing_flickers_for_a_reader_who_asked_for_less_motion(opened):
    page = opened(1280, reduced_motion="reduce")
    for i in (1, 3):
        page.locator(f"#trial-{i} .pin").click()
    page.get_by_role("button", name="flicker").click()
    assert page.locator("[name=play]").inner_text() == "play"
    page.wait_for_timeout(1200)
    assert page.evaluate(NOW) == 0
    page.get_by_role("button", name="play").click()
    wait_for(page, 1)


@pytest.mark.browser
def test_the_difference_of_two_pinned_pictures_is_that_of_their_pixels(opened):
    page = opened(390)
    for i in (1, 4, 6):
        page.locator(f"#trial-{i} .pin").click()
    page.get_by_role("button", name="difference").press("Enter")
    page.wait_for_selector(".bench canvas")
    pixel = "(canvas) => [...canvas.getContext('2d').getImageData(5, 5, 1, 1).data]"
    pixels = page.evaluate(f"[...document.querySelectorAll('.bench canvas')].map({pixel})")
    assert pixels == [[60, 60, 60, 255], [100, 100, 100, 255]]  # greys 20, 80 and 120, each against the first
    assert f"on average {100 * 60 / 255:.1f} %" in page.locator(".bench figcaption").first.inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.complaints == []


@pytest.mark.browser
def test_a_wall_can_begin_with_its_pictures_pinned(browser, tmp_path):
    begun = replace(wall("x"), pinned=("trial-1", "trial-2"))
    _, html = write_report(Report("t", "", (Section("s", (begun,)),)), tmp_path)
    page = browser.new_page()
    page.goto(html.as_uri())
    assert page.locator(".bench figure strong").all_inner_texts() == ["trial 1 x", "trial 2 x"]
    page.close()


@pytest.mark.browser
def test_on_paper_every_trial_is_there_with_its_numbers_and_no_button(opened):
    page = opened(794, color_scheme="dark")
    page.get_by_label("Pareto front only").check()
    page.emulate_media(media="print")
    assert page.locator(".tile.trial").locator("visible=true").count() == 8
    assert page.locator("#trial-3 .values").is_visible()
    assert not page.locator("nav, .wall button, .wall form, .pins").locator("visible=true").count()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    sizes = page.evaluate(
        "[...document.querySelectorAll('.values dd, td, p')].map((e) => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(sizes) >= 8  # CSS pixels: 6 points
    assert page.evaluate("document.documentElement.scrollWidth") == 794
