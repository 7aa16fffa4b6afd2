"""The report of a study: every trial on the wall, what beta goes with, its size and speed, from stored results only."""

import io
import re
import shutil
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import optuna
import pytest
from helpers import copy_of, quick_config, watched_page
from optuna.trial import TrialState, create_trial
from PIL import Image

from pipeline.errors import ReportError
from pipeline.evaluation.catalog import METRICS, directed
from pipeline.grids import read_grid
from pipeline.reporting.blocks import Table, Wall
from pipeline.runs.execute import execute, set_up_process
from pipeline.runs.outcome import Outcome
from pipeline.stages.context import Context
from pipeline.stages.graph import TRAIN
from pipeline.stages.train import epoch_grid_path
from sweeps.analysis.front import pareto_front
from sweeps.analysis.summary import summarise
from sweeps.analysis.trials import busy_seconds, trial_frame
from sweeps.rebuilding import rebuild_report
from sweeps.reporting import large
from sweeps.reporting.answer import beta_sentence
from sweeps.reporting.choice import how_chosen, judges_alone
from sweeps.reporting.study import sweep_report, write_sweep_report
from sweeps.reporting.trials import image_wall
from sweeps.reporting.verify import read_numbers, verify
from sweeps.study.closing import Closing
from sweeps.study.config import StudyConfig
from sweeps.study.ledger import Ledger
from sweeps.study.objective import chosen
from sweeps.study.objective import values as objective_values
from sweeps.study.reading import as_stored, stored_trial
from sweeps.study.space import build_space

CONFIG = StudyConfig(
    "kept <b>",
    quick_config(train__epochs=2),
    build_space(entries=["beta=0.1:10", "latent_dim=2:8", "learning_rate=off"]),
    chosen((), "cvae", "standard"),
)


@pytest.fixture(scope="module")
def studied(warm_root, tmp_path_factory):
    """A home with trials 0 to 4 complete, 5 pruned after an epoch, 6 failed; the choice trained from two seeds."""
    home = copy_of(warm_root, tmp_path_factory.mktemp("studied") / "home")
    set_up_process(1)
    ledger = Ledger(home, CONFIG)
    for n, beta in enumerate([0.2, 0.5, 1.0, 3.0, 8.0]):
        params = {"beta": beta, "latent_dim": 4}
        trial = ledger.begin(params)
        config = CONFIG.trial_config(n, optuna.trial.FixedTrial(params))
        outcome = execute(Context(config, home), "val")
        ledger.note(trial, run_key=outcome.key, metrics=outcome.metrics)
        ledger.tell(trial, objective_values(CONFIG.objectives, outcome.metrics))
    pruned = ledger.begin({"beta": 9.0, "latent_dim": 2})
    key = TRAIN.key(CONFIG.trial_config(5, optuna.trial.FixedTrial(pruned.params)))
    grid = epoch_grid_path(home.store.partial("train", key), 1)
    grid.parent.mkdir(parents=True)
    Image.fromarray(np.full((89, 89), 7, np.uint8)).save(grid)
    ledger.note(pruned, reason="stopped by the median pruner after epoch 1")
    ledger.tell(pruned, state=TrialState.PRUNED)
    failed = ledger.begin({"beta": 0.1, "latent_dim": 2})
    ledger.note(failed, reason="loss is nan at epoch 1; try <lower>")
    ledger.tell(failed, state=TrialState.FAIL)
    Closing(final_seeds=2, judges=2).record(ledger.study)
    finish(home, ledger)
    ledger.close()
    return home


@pytest.fixture
def warm_home(home, studied):
    """A copy of `studied`."""
    shutil.copytree(studied.root, home.root)
    return home


@pytest.fixture
def ledger(warm_home):
    ledger = Ledger(warm_home, CONFIG)
    yield ledger
    ledger.close()


@pytest.fixture(scope="module")
def written(studied):
    """Its report as it is written; read only, as `studied` is."""
    return rebuild_report(studied, CONFIG.name)


@pytest.fixture(scope="module")
def report(written):
    """The same in blocks."""
    return sweep_report(written.summary)


def finish(home, ledger):
    """Re-train what the choice still lacks, as `sweeps.finals` does with workers."""
    while (summary := summarise(home, ledger.study, CONFIG)).choice and (
        unknown := [n for n in summary.choice.candidates if n not in summary.retrained]
    ):
        for config in [c for n in unknown for c in summary.final_configs(n, "val")]:
            execute(Context(config, home), "val")
    for config in summary.final_configs(summary.chosen, "test"):
        execute(Context(config, home), "test")


def wall_of(blocks) -> Wall:
    [wall] = [block for block in blocks if isinstance(block, Wall)]
    return wall


def test_every_trial_is_on_the_wall_with_its_picture_or_why_there_is_none(written, report):
    summary, wall = written.summary, wall_of(report.blocks)
    tiles = {tile.anchor: tile for tile in wall.tiles}
    assert sorted(tiles) == [f"trial-{n}" for n in range(7)]
    assert [dict(tile.values)["beta"] for tile in wall.tiles] == ["0.1", "0.2", "0.5", "1", "3", "8", "9"]
    for n, outcome in summary.outcomes.items():
        shown = np.asarray(Image.open(io.BytesIO(tiles[f"trial-{n}"].picture.png)))
        stored = read_grid(outcome.picture)
        assert (shown[1::3, 1::3] == stored).all()  # digits are enlarged three times
    assert tiles["trial-5"].picture is not None
    assert tiles["trial-5"].note == "pruned (images after epoch 1): stopped by the median pruner after epoch 1"
    assert tiles["trial-6"].picture is None
    assert tiles["trial-6"].note == "failed: loss is nan at epoch 1; try <lower>"
    assert {anchor for anchor, tile in tiles.items() if tile.marked} == {f"trial-{n}" for n in summary.front}
    assert wall.names == ("beta", "latent_dim", "conditional_accuracy", "coverage_relative", "neg_elbo", "kl", "bce")


def test_a_trial_that_still_runs_has_no_picture_yet(ledger, warm_home):
    running = ledger.begin({"beta": 5.0, "latent_dim": 3})
    key = TRAIN.key(CONFIG.trial_config(7, optuna.trial.FixedTrial(running.params)))
    grid = epoch_grid_path(warm_home.store.partial("train", key), 1)
    grid.parent.mkdir(parents=True)
    Image.fromarray(np.full((89, 89), 7, np.uint8)).save(grid)
    wall = wall_of(image_wall(summarise(warm_home, ledger.study, CONFIG)))
    [tile] = [t for t in wall.tiles if t.title == "trial 7"]
    assert (tile.picture, tile.note) == (None, "running")


def test_real_images_of_the_same_layout_stand_beside_the_trials(written, report, digits):
    outcome = written.summary.outcomes[0]
    assert read_grid(outcome.real).shape == read_grid(outcome.picture).shape
    first = read_grid(outcome.real)[:8, :8]
    zeros = digits.val.images[digits.val.labels == 0].view(-1, 8, 8).numpy()
    assert any((first == zero).all() for zero in zeros)
    assert wall_of(report.blocks).reference.title == "real images"


def test_every_number_of_the_report_is_derived_anew_without_drift(written, studied):
    found = verify(studied, written.report)
    assert found.drifted == ()
    keys = {number.source.key for number in read_numbers(written.report)}
    assert {"val/neg_elbo", "test/neg_elbo", "trials/complete", "trials/failed", "trials/6/beta"} <= keys


def test_a_study_has_no_number_of_a_trial_or_column_that_is_not_there(ledger, warm_home):
    summary = summarise(warm_home, ledger.study, CONFIG)
    assert summary.quantity("trials/5/beta") == 9.0
    assert summary.quantity("trials/pruned") == 1.0
    for key in ("trials/7/beta", "trials/0/gamma", "trials/x/beta", "trials/0/state", "trials/nobody", "", "a/b/c"):
        with pytest.raises((ReportError, ValueError)):
            summary.quantity(key)


def test_test_numbers_have_their_spread_over_seeds(written, report):
    text = written.report.with_name("report.md").read_text()
    assert "The chosen configuration re-trained from 2 seeds" in text
    assert "fewer than 3 seeds have none" in text
    assert "the first of these was trained model number 1 that was opened on this test split" in text
    assert re.search(r"\| test/neg_elbo ↓ \| [\d.]+ ± [\d.]+ \| - \| [\d.]+ \| [\d.]+ \|", text)
    assert "5 complete, 1 pruned, 1 failed" in text
    head = re.findall(r"^- \*\*(.+?)\*\*", text.partition("##")[0], re.MULTILINE)
    assert head == ["searched", "for", "settings", "data", "trials", "finished", "ran on"]
    assert "settings**: latent dim" not in text, "what is searched is no setting"
    assert "The search saw training" in text
    for block in report.blocks:
        for column in block.columns if isinstance(block, Table) else ():
            assert column == directed(column.split()[0]) or column.split()[0].rpartition("/")[2] not in METRICS


def test_the_csv_is_beside_the_report_and_in_it(written):
    html = written.report
    assert html.with_name("trials.csv").read_text() == written.summary.frame.to_csv(index=False)
    assert 'download="trials.csv"' in html.read_text()
    assert "](trials.csv)" in html.with_name("report.md").read_text()


def test_candidates_are_read_by_both_judges_and_the_report_says_what_each_alone_would_choose(ledger, warm_home):
    summary = summarise(warm_home, ledger.study, CONFIG)
    assert len(summary.choice.by_judge) == 2
    for number, own in summary.retrained.items():
        assert all("val/conditional_accuracy_judge2" in outcome.metrics for outcome in own)
        assert all(outcome.metrics.keys() > summary.outcomes[number].metrics.keys() for outcome in own)
    for alone, said in (
        ((summary.chosen,) * 2, f"Each of the 2 judges alone would choose trial {summary.chosen}."),
        (
            (summary.chosen, 99),
            f"alone, trial {summary.chosen} 1 of 2, trial 99 1 of 2. Between these the choice is und",
        ),
    ):
        of = replace(summary.choice, by_judge=alone, candidates=(*summary.choice.candidates, *{99} & {*alone}))
        assert said in str(judges_alone(of))
    spread = [
        np.mean([[o.metrics[f"val/conditional_accuracy{end}"] for end in ("", "_judge2")] for o in own], 1)
        for own in summary.retrained.values()
    ]
    table = next(block for block in how_chosen(summary) if isinstance(block, Table))
    assert [row[1] for row in table.rows] == [f"{np.mean(s):.4f} ± {np.std(s, ddof=1):.4f}" for s in spread]
    assert "Mean of 2 judges" in table.caption


def test_a_large_study_shows_the_front_and_a_sample_and_has_every_trial_on_sheets_beside_it(
    warm_home, report, monkeypatch
):
    for name, value in {"WHOLE": 6, "SHOWN": 4, "PER_SHEET": 4}.items():
        monkeypatch.setattr(large, name, value)
    result = rebuild_report(warm_home, CONFIG.name)
    summary, folder = result.summary, result.report.parent
    wall = wall_of(image_wall(summary))
    shown = {int(tile.anchor.removeprefix("trial-")) for tile in wall.tiles}
    assert len(shown) == 4
    assert {summary.chosen, *summary.choice.candidates} <= shown
    assert "Of 7 trials 4 are shown" in wall.caption
    sheets = sorted(folder.glob("images/sheet-*.png"))
    assert [path.name for path in sheets] == ["sheet-000.png", "sheet-001.png"]  # one of the seven drew no images
    grid = read_grid(summary.outcomes[0].picture)
    with Image.open(sheets[0]) as sheet:
        assert (np.asarray(sheet)[: grid.shape[0], : grid.shape[1]] == grid).all()  # of the least beta
    page = result.report.read_text()
    assert all(f'href="images/{path.name}"' in page for path in sheets)
    assert 'href="trials.csv"' in page
    assert len((folder / "trials.csv").read_text().splitlines()) == 8
    assert verify(warm_home, result.report).sound
    sheets[0].write_bytes(b"")
    assert "images/sheet-000.png has been changed" in " ".join(verify(warm_home, result.report).damaged)
    monkeypatch.undo()
    monkeypatch.setattr("sweeps.reporting.study.sweep_report", lambda summary: report)  # drawn before
    rebuild_report(warm_home, CONFIG.name)
    assert not list(folder.glob("images/sheet-*.png"))


def test_the_sentence_on_beta_follows_the_trials(ledger, warm_home):
    summary = summarise(warm_home, ledger.study, CONFIG)

    def with_metrics(metrics):
        outcomes = {
            n: replace(o, metrics=o.metrics | metrics(o.config.train.beta)) for n, o in summary.outcomes.items()
        }
        return beta_sentence(replace(summary, outcomes=outcomes))

    five = {
        "val/conditional_accuracy": float,
        "val/coverage_relative": lambda beta: 1 / beta,
        "val/neg_elbo": {0.2: 3.0, 0.5: 1.0, 1.0: 4.0, 3.0: 1.5, 8.0: 2.0}.__getitem__,
        "val/kl": lambda beta: 5.0,
    }
    said = with_metrics(lambda beta: {key: value(beta) for key, value in five.items()})
    assert said.startswith(
        "Over 5 complete trials a larger beta goes with no clear change; undecided: conditional_accuracy (+1.00)"
    ), "one order in 60 for each of four quantities"
    some = next(iter(summary.outcomes.values()))
    ten = {
        n: replace(
            some,
            config=some.config.with_settings({"train.beta": 2.0**n}),
            metrics=some.metrics
            | {
                "val/conditional_accuracy": n / 10,
                "val/coverage_relative": -n / 10,
                "val/neg_elbo": (n * 7) % 10,
                "val/kl": 5.0,
            },
        )
        for n in range(10)
    }
    said = beta_sentence(replace(summary, outcomes=ten))
    assert said.startswith(
        "Over 10 complete trials a larger beta goes with higher conditional_accuracy (+1.00) and with lower "
        "coverage_relative (-1.00); undecided: neg_elbo ("
    )
    hump = {
        n: replace(outcome, metrics=outcome.metrics | {"val/coverage_relative": -abs(n - 9.5)})
        for n, outcome in enumerate(
            replace(
                some,
                config=some.config.with_settings({"train.beta": 1.2**n}),
                metrics=some.metrics
                | {"val/conditional_accuracy": n / 10, "val/neg_elbo": (n * 7) % 20, "val/kl": 5.0},
            )
            for n in range(20)
        )
    }
    with_a_hump = beta_sentence(replace(summary, outcomes=hump))
    assert "higher conditional_accuracy (+1.00) and with first higher, then lower coverage_relative (" in with_a_hump
    assert "latent_dim varied too, so cvae-pipe ablate --param beta has the last word" in said
    nothing = with_metrics(
        lambda beta: (
            dict.fromkeys(("val/conditional_accuracy", "val/coverage_relative"), 1.0)
            | {"val/neg_elbo": 1.0, "val/kl": 1.0}
        )
    )
    assert "a larger beta goes with no clear change; undecided: conditional_accuracy" in nothing
    few = {n: summary.outcomes[n] for n in (0, 1, 2)}
    assert beta_sentence(replace(summary, outcomes=few)) == ""
    fixed = replace(CONFIG, space=build_space(entries=["beta=off"]))
    assert beta_sentence(replace(summary, config=fixed)) == ""


def test_time_that_trials_share_counts_once_and_pauses_do_not():
    start = datetime(2026, 1, 1)
    spans = [(0, 10), (5, 8), (9, 20), (100, 130)]
    trials = [
        create_trial(value=0.0).__class__(  # FrozenTrial, with times of our own
            n,
            TrialState.COMPLETE,
            0.0,
            start + timedelta(seconds=a),
            start + timedelta(seconds=b),
            {},
            {},
            {},
            {},
            {},
            n,
        )
        for n, (a, b) in enumerate(spans)
    ]
    assert busy_seconds(map(stored_trial, trials[::-1])) == 20 + 30
    assert busy_seconds([]) == 0


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser_the_report_of_a_study_is_quiet_whole_and_fits(browser, written, width):
    page = watched_page(browser, written.report, width)
    loaded = "[...document.images].every((image) => image.complete && image.naturalWidth > 0)"
    assert page.evaluate(f"Promise.all([...document.images].map((image) => image.decode())).then(() => {loaded})")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    if width == 1280:
        cut = "[...document.querySelectorAll('.scroll')].filter((e) => e.scrollWidth > e.clientWidth).length"
        assert page.evaluate(cut) == 0, "every table is as wide as the page"
        page.locator("h2").first.scroll_into_view_if_needed()
        assert page.locator(".lead").first.bounding_box()["y"] < 800, "the answer is on the first screen"
        assert len(re.findall(rb"/Type\s*/Page\b(?!s)", page.pdf(format="A4"))) <= 8
        page.emulate_media(media="print")
        whole = "[...document.querySelectorAll('figure.plot, .short')].map((e) => getComputedStyle(e).breakInside)"
        assert set(page.evaluate(whole)) == {"avoid"}, "no caption is parted from what it is of"
        page.emulate_media(media="screen")
    assert page.inner_text("h1") == "Sweep kept <b>"
    assert page.locator(".tile.trial").count() == 7
    for link in page.locator("td a, .lead a").all():
        assert page.locator(link.get_attribute("href")).count() == 1
    assert all(url.startswith(("file:", "data:")) for url in page.requests)
    assert page.complaints == []
    page.close()


@pytest.mark.soak
def test_forty_trials_of_noise_are_below_eight_megabytes(ledger, warm_home, tmp_path):
    """Noise of MNIST's size does not compress: no real sweep is larger."""
    few = rebuild_report(warm_home, CONFIG.name).summary
    rng = np.random.default_rng(0)
    study = optuna.create_study(directions=CONFIG.directions)
    outcomes: dict[int, Outcome] = {}
    for n in range(40):
        outcome = few.outcomes[n % 5]
        path = tmp_path / f"{n}.png"
        Image.fromarray(rng.integers(0, 255, (289, 289), np.uint8)).save(path, optimize=True)
        metrics = {key: value * (1 + 0.1 * rng.random()) for key, value in outcome.metrics.items()}
        outcomes[n] = replace(
            outcome, metrics=metrics, grids={**outcome.grids, "generated_expost": path}, key=f"{n:064x}"
        )
        study.add_trial(
            create_trial(
                params={"beta": 0.1 * 1.1**n, "latent_dim": 2 + n % 6},
                distributions=CONFIG.distributions,
                values=objective_values(CONFIG.objectives, metrics),
                user_attrs={"run_key": f"{n:064x}", "metrics": metrics},
            )
        )
    frame = trial_frame(as_stored(study), CONFIG)
    front = pareto_front(frame, CONFIG.objectives)
    summary = replace(few, frame=frame, front=front, chosen=front[0], outcomes=outcomes)
    html = write_sweep_report(warm_home, summary, tmp_path / "report")
    assert len(wall_of(image_wall(summary)).tiles) == 40
    assert html.stat().st_size < 8e6
    page = html.read_text()
    sources = re.findall(r'src="(data:image/png;base64,[^"]+)"', page)
    assert len(set(sources)) == len(sources) > 40
