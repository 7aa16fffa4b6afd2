"""A real sweep in MLflow's real interface, in a real browser: what people are sent to is there, and text stays text."""

import shutil
import urllib.parse

import pytest
from helpers import Server, quick_config

from pipeline.cli import ui
from pipeline.stages.context import Context
from pipeline.store.home import Home
from pipeline.tracking import MlflowTracker
from sweeps.driver import sweep
from sweeps.execution.local import LocalExecutor
from sweeps.study.closing import Closing
from sweeps.study.config import StudyConfig
from sweeps.study.objective import chosen
from sweeps.study.space import DEFAULT_SPACE

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(180)]

STUDY = '<img src=x onerror=alert(1)> "it\'s" 😀 [x](javascript:alert(2))'
QUIET = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
"""Else a panel opens by itself when a browser comes for the first time."""
PATIENCE = 30_000
"""Milliseconds until something that should appear is missing."""


class Served:
    """A finished sweep, the links that `cvae-pipe ui` gives to it, and what its trials are called."""

    def __init__(self, home: Home, server: Server) -> None:
        config = StudyConfig(STUDY, quick_config(train__epochs=2), DEFAULT_SPACE, chosen((), "cvae", "standard"))
        self.result = sweep(
            Context(config.base, home),
            config,
            trials=3,
            closing=Closing(1),
            connect=lambda: MlflowTracker.connect(home, "cvae-pipe", on_warning=print),
            make_executor=lambda home: LocalExecutor(home, 1),
            workers=1,
        )
        server.start()
        self.links = ui.links(home, "cvae-pipe", port=server.port)
        client = MlflowTracker.connect(home, "cvae-pipe", on_warning=print).client
        runs = client.search_runs([client.get_experiment_by_name("cvae-pipe").experiment_id], "tags.trial LIKE '%'")
        self.titles = sorted(run.info.run_name for run in runs)


@pytest.fixture(scope="module")
def served(warm_root, tmp_path_factory):
    root = tmp_path_factory.mktemp("ui") / "home"
    shutil.copytree(warm_root, root)
    home = Home(root, root / "data")
    server = Server(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        try:
            yield Served(home, server)
        finally:
            if hasattr(server, "process"):
                server.stop()


@pytest.fixture
def opened(browser, served):
    """Opens one of the links and keeps what went wrong in the page, and what it asked of other hosts."""
    pages = []

    def open_page(name: str):
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(PATIENCE)
        page.add_init_script(QUIET)
        page.dialogs, page.strangers = [], []
        page.on("dialog", lambda dialog: page.dialogs.append(dialog.message) or dialog.dismiss())
        host = urllib.parse.urlsplit(served.links["all"]).netloc
        page.on("request", lambda request: page.strangers.append(request.url) if _foreign(request.url, host) else None)
        page.goto(served.links[name], wait_until="domcontentloaded")
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        assert page.dialogs == []
        assert page.strangers == []
        page.close()


def _foreign(url: str, host: str) -> bool:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme in ("http", "https") and parts.netloc != host


def test_the_trials_are_listed_under_names_that_say_what_they_tried(opened, served):
    page = opened("trials")
    for title in served.titles:
        page.get_by_role("link", name=title, exact=True).first.wait_for()
    assert [title[:8] for title in served.titles] == ["trial 00", "trial 01", "trial 02"]
    page.get_by_placeholder("Search metric charts").fill("val/coverage_relative")
    page.get_by_title("val/coverage_relative").first.wait_for()  # a chart's heading
    page.locator(".js-plotly-plot").first.wait_for()


def test_the_view_shows_the_images_of_every_trial_and_its_charts(opened, served):
    page = opened("view")
    page.get_by_text("Generated images").wait_for()
    grids = page.locator("img[src*='final~generated']")
    grids.nth(2).wait_for()
    page.wait_for_function("[...document.images].every((image) => image.complete)")
    assert grids.count() == 3
    assert min(page.evaluate("[...document.images].map((image) => image.naturalWidth)")) > 0
    for title in served.titles:  # in the list and above its image
        page.get_by_text(title).nth(1).wait_for()
    for section in ("Trade-off", "What the settings do", "Each setting"):
        page.get_by_text(section, exact=True).scroll_into_view_if_needed()
        page.locator(".js-plotly-plot").first.wait_for()
    page.get_by_text(f"sweep {STUDY}").wait_for()  # the view is chosen in the list of views


def test_scores_per_class_are_compared_across_trials(opened, served):
    page = opened("classes")
    page.get_by_text("per_class.json").first.wait_for()
    page.get_by_text("conditional_accuracy").first.wait_for()
    page.get_by_text(served.titles[0]).nth(1).wait_for()  # in the list and above its column


def test_the_study_shows_its_choice_with_a_picture_and_its_name_as_text(opened, served):
    page = opened("study")
    page.get_by_text(f"the balanced one is trial {served.result.summary.chosen}").wait_for()
    picture = page.locator("img[src*='path=generated.png']")
    picture.wait_for()
    page.wait_for_function("[...document.images].every((image) => image.complete)")
    assert picture.evaluate("(image) => image.naturalWidth") > 300
    page.get_by_text(STUDY).nth(1).wait_for()  # the title and the tag
    report = page.get_by_role("link", name="report", exact=True).first.get_attribute("href")
    assert report.endswith(urllib.parse.urlsplit(served.links["report"]).fragment)


def test_the_report_is_rendered_inside_the_interface(opened, served):
    page = opened("report")
    report = page.frame_locator("iframe")
    report.get_by_role("heading", level=1).wait_for()
    assert report.get_by_role("heading", level=1).inner_text() == f"Sweep {STUDY}"
    assert report.locator("img").count() > 3
    assert report.locator("img").first.evaluate("(image) => image.complete && image.naturalWidth > 0")


def test_the_champion_is_registered_with_its_alias(opened, served):
    page = opened("model")
    page.get_by_text("@ champion").wait_for()
    page.get_by_text("Version 1", exact=True).wait_for()
    page.get_by_text("@champion", exact=False).first.wait_for()  # how to load it
