"""Sections of a sweep's report: numbers against their definition, and nothing where there is nothing to say."""

import io
import itertools
import platform
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers import chosen_on_values, quick_config
from PIL import Image

from pipeline.config.reading import build_config
from pipeline.environment import cpu_model
from pipeline.reporting.about import about_run
from pipeline.reporting.blocks import Figure, File, Report, Section, Table, Text
from pipeline.reporting.html import render_html
from pipeline.reporting.sections.classes import classes_section
from pipeline.runs.execute import execute
from pipeline.stages.context import Context
from sweeps.analysis.front import pareto_front
from sweeps.analysis.importances import importances
from sweeps.analysis.summary import Summary
from sweeps.reporting.classes import class_heat, per_class
from sweeps.reporting.study import drawn
from sweeps.reporting.trade_off import trade_off
from sweeps.reporting.why import curves, why
from sweeps.study.config import StudyConfig
from sweeps.study.hypervolume import hypervolume
from sweeps.study.objective import chosen
from sweeps.study.space import DEFAULT_SPACE

BASE = build_config(flags={"data.dataset": "digits", "train.epochs": 5})
CONFIG = StudyConfig("s", BASE, DEFAULT_SPACE, chosen((), "cvae", "standard"))
METRICS = {"val/judge_accuracy": 0.9, "val/label_only_bce": 170.0, "val/entropy_floor": 50.0}
PLAIN = SimpleNamespace(metrics=METRICS, facts={"classes": 10}, history=[], grids={}, per_class=None, split="val")
HOSTILE = ["<script>alert('x')</script>", "$\\frac{$", "_hidden", "🚀", "x" * 300, "a\nb", "", "%s{}", "|", "[a](b"]


def summary_of(n: int, config: StudyConfig = CONFIG, outcomes=None) -> Summary:
    """`n` complete trials and a failed one; accuracy falls with beta, and hangs on nothing else."""
    rng = np.random.default_rng(0)
    beta = np.geomspace(0.1, 10, n)
    frame = pd.DataFrame(
        {
            "number": range(n),
            "state": "complete",
            "beta": beta,
            "latent_dim": rng.integers(2, 65, n),
            "learning_rate": 10 ** rng.uniform(-3, -2, n),
            "conditional_accuracy": 0.9 - 0.05 * np.log10(beta),
            "coverage_relative": rng.uniform(0.2, 0.9, n),
            "neg_elbo": rng.uniform(90, 160, n),
            "kl": 10.0,
            "bce": rng.uniform(80, 150, n),
            "run_key": [f"{i:016x}" for i in range(n)],
        }
    )
    failed = frame.iloc[:1].assign(number=n, state="failed", conditional_accuracy=np.nan, neg_elbo=np.nan)
    frame = pd.concat([frame, failed], ignore_index=True)
    outcomes = dict.fromkeys(range(n), PLAIN) if outcomes is None else outcomes
    front = pareto_front(frame, config.objectives)
    return chosen_on_values(Summary(config, frame, front, None, outcomes))


def names(blocks) -> list[str]:
    return [block.name for block in blocks if isinstance(block, Figure)]


# ---- trade-off


def test_a_gain_is_0_at_the_worst_and_1_at_the_best_that_means_something():
    rows = pd.DataFrame(
        {"conditional_accuracy": [0.1, 0.9, 0.5], "coverage_relative": [0, 1, 0.5], "neg_elbo": [170, 50, 110]}
    )
    np.testing.assert_allclose(summary_of(4).gains(rows), [[0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5]])


def test_the_caption_has_the_volume_of_the_front_and_the_trial_that_reached_it():
    summary = summary_of(12)
    [figure] = [b for b in trade_off(summary) if isinstance(b, Figure) and b.name == "hypervolume"]
    complete = summary.frame[summary.frame["state"] == "complete"]
    front = complete[complete["number"].isin(summary.front)]
    volume = hypervolume(summary.gains(front))
    assert f"{volume:.4f} in the end" in figure.caption
    last = int(figure.caption.split("trial ")[1].split()[0])
    before = complete[complete["number"] < last]
    assert (
        hypervolume(summary.gains(before))
        < volume
        == pytest.approx(hypervolume(summary.gains(complete[complete["number"] <= last])))
    )


def test_a_front_that_is_nowhere_better_than_the_worst_has_no_history():
    summary = summary_of(6)
    hopeless = replace(summary, frame=summary.frame.assign(neg_elbo=400.0))
    assert names(trade_off(hopeless)) == ["pareto"]


def test_the_front_table_names_trials_by_plain_numbers_and_marks_the_choice():
    summary = summary_of(12)
    table = trade_off(summary)[0]
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == [str(n) for n in summary.front]
    assert [summary.front[i] for i in table.highlight] == [summary.chosen]


def test_there_is_no_trade_off_before_a_trial_is_complete_nor_with_one_objective():
    assert trade_off(replace(summary_of(4), front=(), chosen=None)) == ()
    one = replace(CONFIG, objectives=chosen(("neg_elbo",), "cvae", "standard"))
    assert names(trade_off(summary_of(6, one))) == []


SUBSETS = [k for n in (1, 2, 3) for k in itertools.combinations(range(3), n)]


@pytest.mark.parametrize(("kept", "trials"), [*((k, 4) for k in SUBSETS[1:6]), (SUBSETS[0], 1), (SUBSETS[-1], 1)])
def test_whatever_is_searched_every_section_can_be_made(kept, trials):
    config = replace(CONFIG, space=tuple(DEFAULT_SPACE[i] for i in kept))
    summary = summary_of(trials, config)
    gone = [d.name for i, d in enumerate(DEFAULT_SPACE) if i not in kept]
    without = replace(summary, frame=summary.frame.drop(columns=gone))
    for section in (trade_off, why):
        assert section(without)


def test_trials_that_are_all_alike_have_a_report_too():
    same = summary_of(6).frame.assign(
        conditional_accuracy=0.5, coverage_relative=0.5, neg_elbo=100.0, beta=1.0, latent_dim=2, learning_rate=1e-3
    )
    summary = replace(summary_of(6), frame=same)
    assert trade_off(summary)
    assert "importances" not in names(why(summary))


def test_a_section_that_cannot_be_made_says_so():
    def fails(summary):
        raise KeyError("a column nobody thought of")

    with pytest.warns(UserWarning, match="Trade-off: This section could not be made"):
        [said] = drawn("Trade-off", fails, summary_of(5)).blocks
    assert said.text == "This section could not be made (KeyError: 'a column nobody thought of')."
    assert drawn("Why", why, summary_of(5)).blocks == why(summary_of(5))


# ---- why


def test_the_setting_that_matters_is_the_most_important():
    summary = summary_of(30)
    found = importances(summary.frame.iloc[:-1], summary.config)["conditional_accuracy"]
    assert max(found.shares, key=found.shares.get) == "beta"
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.shares["beta"] > found.noise


def test_of_noise_no_setting_is_more_important_than_of_its_values_shuffled():
    frame = summary_of(12).frame.iloc[:-1]
    rng = np.random.default_rng(0)
    above = []
    for _ in range(4):
        noise = frame.assign(**{o.name: rng.normal(size=len(frame)) for o in CONFIG.objectives})
        found = importances(noise, CONFIG)
        above += [max(i.shares.values()) > i.noise for i in found.values()]
        assert np.mean([max(i.shares.values()) for i in found.values()]) > 0.3, "a forest explains noise, too"
    assert np.mean(above) <= 0.2  # 12 objectives at 5 %


def test_what_matters_is_not_said_of_three_trials():
    assert isinstance(why(summary_of(3))[0], Text)
    assert names(why(summary_of(8))) == ["importances", "slices", "contours", "parallel", "rate-distortion"]


def test_a_single_setting_has_no_contour_and_a_third_one_is_owned_up_to():
    one = replace(CONFIG, space=DEFAULT_SPACE[:1])
    assert "contours" not in names(why(summary_of(8, one)))
    [contours] = [b for b in why(summary_of(8)) if isinstance(b, Figure) and b.name == "contours"]
    assert "Points differ in learning rate as well." in contours.caption
    two = replace(CONFIG, space=DEFAULT_SPACE[:2])
    [contours] = [b for b in why(summary_of(8, two)) if isinstance(b, Figure) and b.name == "contours"]
    assert "differ" not in contours.caption


def test_without_outcomes_there_are_no_curves():
    assert curves(summary_of(4, outcomes={})) == ()


# ---- per class


@pytest.fixture
def outcome(warm_home):
    return execute(Context(quick_config(), warm_home), "test")


def test_the_worst_class_is_shown_with_its_row_of_the_grid(outcome):
    worst, table = 6, outcome.per_class["table"]
    table["conditional_accuracy"] = [0.1 if label == worst else 0.9 for label in range(10)]
    section = classes_section(outcome)
    [figure] = [b for b in section.blocks if isinstance(b, Figure) and b.name == "worst-class"]
    with Image.open(outcome.picture) as image:
        row = np.asarray(image)[9 * worst : 9 * worst + 8]
    with Image.open(io.BytesIO(figure.png)) as image:
        shown = np.asarray(image)
    scale = shown.shape[0] // 8
    np.testing.assert_array_equal(shown, row.repeat(scale, 0).repeat(scale, 1))


def test_the_worst_class_is_said_to_be_taken_for_what_the_judge_reads_most(outcome):
    names = list("abcdefghij")
    confusion = np.full((10, 10), 1) + np.diag([89] * 10)
    confusion[4] = [0, 0, 30, 0, 60, 0, 0, 10, 0, 0]
    table = {**outcome.per_class["table"], "class": names}
    table["conditional_accuracy"] = [0.9] * 4 + [0.6] + [0.9] * 5
    text = classes_section(replace(outcome, per_class={"table": table, "confusion": confusion.tolist()})).blocks[0]
    assert text.text == "Class e is read right least often: 60.0% are read right; 30.0% are taken for class c."


TIES = (
    ([1.0] * 10, "No class is worse than another: 100.0% of each of the 10 are read right.", set()),
    ([0.9, 0.9, *[1.0] * 8], "Classes 0 and 1 are read right least often: 90.0% of each.", {0, 1}),
    ([*[0.9998] * 5, *[1.0] * 5], "5 of 10 classes share the last place: 99.98% of each are read right.", set()),
)


def test_of_classes_that_tie_none_is_called_the_worst(outcome):
    for accuracy, said, stands_out in TIES:
        table = {**outcome.per_class["table"], "conditional_accuracy": accuracy}
        section = classes_section(replace(outcome, per_class={**outcome.per_class, "table": table}))
        assert section.blocks[0].text == said
        assert not [b for b in section.blocks if isinstance(b, Figure) and b.name == "worst-class"]
        [shown] = [b for b in section.blocks if isinstance(b, Table)]
        assert shown.highlight == stands_out
        assert ("stand" in shown.caption) is bool(stands_out)


def test_the_head_of_a_report_says_what_was_run_when_and_on_what(outcome):
    head = dict(about_run(outcome))
    assert head["settings"].startswith("latent dim 4, hidden 64, epochs ")
    assert head["settings"].endswith("all others the defaults of digits")
    assert head["data"] == "digits: 1,078 training, 360 validation and 359 test images of 10 classes"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC, \d+ s of training and scoring", head["finished"])
    assert head["ran on"].startswith(f"{cpu_model()}; Python {platform.python_version()}, torch ")
    older = replace(outcome, finished="", facts={k: outcome.facts[k] for k in ("images", "classes")})
    assert [name for name, _ in about_run(older)] == ["settings", "data", "finished"]


def test_of_a_hundred_classes_the_worst_are_shown_and_all_are_in_a_file(outcome):
    table = {
        "class": [f"class {i:03d}" for i in range(100)],
        "conditional_accuracy": [0.9] * 5 + [0.1] + [0.9] * 94,
        **{name: [0.5] * 100 for name in ("low", "high")},
        "coverage": [None] * 99 + [0.5],
    }
    counts = {name: [n + i for i in range(100)] for name, n in (("train", 900), ("val", 10), ("test", 3))}
    many = replace(
        outcome,
        per_class={"table": table, "confusion": np.eye(100).tolist()},
        facts=outcome.facts | {"class_images": counts},
    )
    blocks = classes_section(many).blocks
    [shown] = [b for b in blocks if isinstance(b, Table)]
    assert [row[0] for row in shown.rows[:2]] == ["class 005", "class 000"]
    assert len(shown.rows) == 20
    assert shown.rows[0][1] == "905 / 15 / 8", "images of it in train, val and test"
    assert shown.rows[0][3] == "n/a"
    assert "n/a: fewer than" in shown.caption
    [file] = [b for b in blocks if isinstance(b, File)]
    assert len(file.content.splitlines()) == 101
    assert file.content.splitlines()[-1] == "class 099,0.9,0.5,0.5,0.5"
    assert "the 20 worst of 100 classes" in class_heat("x", {"0": many, "1": many}, "seed")[0].caption


def test_classes_are_compared_within_one_split_and_for_two_outcomes_or_more(outcome, warm_home):
    assert class_heat("x", {"0": outcome}, "seed") == []
    assert names(class_heat("x", {"0": outcome, "1": outcome}, "seed")) == ["classes-x"]
    with pytest.raises(AssertionError, match="not compared"):
        class_heat("x", {"0": outcome, "1": replace(outcome, split="val")}, "seed")


def test_a_sweep_shows_its_finals_or_else_its_choice_and_nothing_for_a_model_without_labels(outcome):
    plain = summary_of(6)
    assert per_class(plain) == ()
    val = replace(outcome, split="val", metrics={**outcome.metrics, "val/judge_accuracy": 0.9, **METRICS})
    summary = summary_of(6, outcomes=dict.fromkeys(range(6), val))
    assert "classes-front" in names(per_class(summary))
    assert "classes-seeds" not in names(per_class(replace(summary, finals=(outcome,))))
    other = replace(outcome, config=outcome.config.with_settings({"train.seed": 1}))
    assert "classes-seeds" in names(per_class(replace(summary, finals=(outcome, other))))


def test_hostile_class_names_are_text(outcome):
    table = {**outcome.per_class["table"], "class": HOSTILE}
    hostile = replace(outcome, per_class={**outcome.per_class, "table": table})
    heat = class_heat("x", {"0": hostile, "1": hostile}, "seed")
    html = render_html(Report("t", "s", (Section("Per class", (*classes_section(hostile).blocks, *heat)),)))
    assert "alert(" in html
    assert "<script>alert" not in html
