"""The index of reports: every one of them, newest first, found by search, with links that work from anywhere."""

import pytest
from helpers import watched_page

from pipeline.plots import image_png
from pipeline.reporting.blocks import Facts, Report, Section, Text
from pipeline.reporting.index import LONGEST, Card, answer_of, entries, write_card, write_index
from pipeline.reporting.writing import write_report

np = pytest.importorskip("numpy")


def a_report(folder, *, kind="run", dataset="digits", date="2026-01-01T00:00:00Z", lead="", face=None):
    blocks = (Text(lead, lead=True),) if lead else (Facts((("neg_elbo", "99.1"), ("kl", "3"))),)
    report = Report(folder.name, f"a {kind}", (Section("Result", blocks),))
    write_report(report, folder)
    write_card(report, folder, Card(kind, dataset, date, face))


@pytest.fixture
def reports(tmp_path):
    root = tmp_path / "reports"
    face = tmp_path / "face.png"
    face.write_bytes(image_png(np.arange(400, dtype=np.uint8).reshape(20, 20)))
    for i in range(100):
        a_report(
            root / f"run {i} #?%",
            date=f"2026-01-01T{i // 60:02d}:{i % 60:02d}:00Z",
            dataset="mnist" if i % 2 else "digits",
            face=face,
        )
    a_report(root / "sweep", kind="study", date="2026-02-01T00:00:00Z", lead="Trial 7 is <b>the</b> choice.")
    write_index(root)
    return root


def test_the_index_is_written_anew_whenever_a_report_is(tmp_path):
    for name in ("one", "two"):
        report = Report(name, "a run", ())
        write_report(report, tmp_path / name, Card("run", "digits", "2026-01-01T00:00:00Z"))
        assert f'href="{name}/report.html"' in (tmp_path / "index.html").read_text()
    write_report(Report("three", "of no home", ()), tmp_path / "three")
    assert "three" not in (tmp_path / "index.html").read_text()


def test_entries_are_all_reports_the_newest_first(reports):
    found = entries(reports)
    assert len(found) == 101
    assert found[0].answer == "Trial 7 is <b>the</b> choice."
    assert found[1].answer == "neg_elbo 99.1, kl 3"
    assert [e.date for e in found] == sorted((e.date for e in found), reverse=True)


def test_a_report_of_before_there_were_cards_is_listed_by_its_page(reports):
    old = reports / "old"
    write_report(Report("Old & good", "a run on digits, long ago", ()), old)
    (old / "config.toml").touch()
    (reports / "torn").mkdir()
    (reports / "torn" / "report.html").write_text("<h1>torn</h1>")
    (reports / "torn" / "card.json").write_text("{")
    found = {e.folder: e for e in entries(reports)}
    assert (found["old"].title, found["old"].kind, found["old"].dataset) == ("Old & good", "run", "digits")
    assert found["torn"].title == "torn"


def test_a_card_of_somebody_else_brings_no_markup_in(reports):
    folder = reports / "sweep"
    (folder / "card.json").write_text(
        '{"kind": "<i>", "title": "<script>alert(1)</script>", "answer": "", "dataset": "", "date": "",'
        ' "face": "x\\" onerror=\\"alert(1)"}'
    )
    page = write_index(reports).read_text()
    assert "<script>alert" not in page
    assert "onerror" not in page


def test_an_answer_is_a_line():
    report = Report("r", "s", (Section("x", (Text("word " * 200, lead=True),)),))
    assert len(answer_of(report)) <= LONGEST
    assert answer_of(Report("r", "what it is about", ())) == "what it is about"


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_searches_sorts_and_leads_to_reports(browser, reports, width, scheme):
    page = watched_page(browser, reports / "index.html", width, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".entries li:visible").count() == 101
    page.fill("input[name=words]", "MNIST neg_elbo")
    assert page.inner_text("output") == "50 of 101"
    page.fill("input[name=words]", "")
    page.select_option("select[name=kind]", "study")
    assert page.locator(".entries li:visible h2").all_inner_texts() == ["sweep"]
    page.select_option("select[name=kind]", "")
    page.select_option("select[name=by]", "name")
    assert page.locator(".entries li:visible h2").nth(1).inner_text() == "run 1 #?%"
    assert page.complaints == []
    page.locator(".entries li:visible h2 a").nth(1).click()
    page.wait_for_url("**/report.html")
    assert page.inner_text("h1") == "run 1 #?%"
    page.close()
