"""A grid of one setting over training seeds: shapes, claims, and the whole journey on digits."""

import itertools
import json
import re
import shlex
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers import Here, mlflow_client, quick_config, quick_toml

from pipeline import plots
from pipeline.errors import StudyError
from pipeline.evaluation.statistics import Shape
from pipeline.reporting.blocks import Wall
from pipeline.stages.context import Context
from pipeline.store.home import Home
from pipeline.tracking import MlflowTracker
from sweeps.ablation import ablate, summarise_ablation
from sweeps.analysis.trends import Ablation, Trend, named_metrics, trends
from sweeps.reporting.ablation import ablation_report, write_ablation
from sweeps.reporting.verify import read_numbers, verify
from sweeps.study.ablation import AblationConfig, parse_values, stored_ablations

VALUES = (0.1, 1.0, 10.0)
BASE = quick_config(train__epochs=2)


def grid(**changes) -> AblationConfig:
    return replace(AblationConfig("ablation-digits-beta", BASE, "train.beta", (0.5, 4.0), seeds=2), **changes)


def run_grid(home, config, executor=None, on_state=lambda name, state: None):
    return ablate(
        Context(config.base, home),
        config,
        connect=lambda: MlflowTracker.connect(home, "cvae-pipe", on_warning=pytest.fail),
        make_executor=lambda home: executor or Here(home),
        on_state=on_state,
    )


# ---- trends


def table(metric, *, seeds=3, values=VALUES, **others):
    """A row per value and seed; `metric(value, seed)` is the one metric."""
    columns = {"m": metric, **others}
    return pd.DataFrame(
        [{"beta": v, "seed": s, **{name: f(v, s) for name, f in columns.items()}} for v in values for s in range(seeds)]
    )


def trend_of(frame):
    return trends(frame, "beta", ["m"])["m"]


def test_a_trend_has_the_means_and_a_step_between_neighbours_and_ends_in_any_order_of_rows():
    frame = table(lambda v, s: 3 * v + s).sample(frac=1, random_state=0)
    trend = trend_of(frame)
    assert trend.values == VALUES
    assert trend.means == pytest.approx([3 * v + 1 for v in VALUES])
    assert [(s.before, s.after) for s in trend.steps] == [(0, 1), (1, 2), (0, 2)]
    assert [s.mean for s in trend.steps] == pytest.approx([2.7, 27, 29.7])
    [only] = trend_of(table(lambda v, s: v, values=(1.0, 2.0))).steps
    assert (only.before, only.after) == (0, 1)


def test_a_verdict_is_said_with_where_it_turns():
    rng = np.random.default_rng(0)
    peak = {0.1: 0.2, 1.0: 0.9, 10.0: 0.4}
    trend = trend_of(table(lambda v, s: peak[v] + rng.normal(0, 0.01), seeds=5))
    assert trend.in_words == "rises then falls (peak at 1)"
    assert trend.document()["turn"] == [1.0, 1.0]
    flat = trend_of(table(lambda v, s: 0.5 + rng.normal(0, 1e-4), seeds=5))
    assert flat.in_words.startswith("flat within 0.00")


def test_what_is_certain_is_certain_under_every_judge():
    rng = np.random.default_rng(0)

    def falling(v, s):
        return 1 - v / 20 + rng.normal(0, 0.01)

    def level(v, s):
        return 0.7 + rng.normal(0, 0.01)

    alone = trend_of(table(falling, seeds=5))
    agreed = trend_of(table(falling, seeds=5, m_judge2=falling))
    apart = trend_of(table(falling, seeds=5, m_judge2=level, m_judge3=falling))
    assert [(t.verdict, t.judges) for t in (alone, agreed, apart)] == [("falls", 1), ("falls", 2), ("undecided", 3)]


# ---- claims


def claims(**verdicts):
    trend = {name: Trend(name, (1.0, 2.0), (0.0, 0.0), (), Shape(verdict)) for name, verdict in verdicts.items()}
    return [verdict for _, verdict in Ablation(grid(), pd.DataFrame(), {}, trend).claims.items()]


CONTRADICTORY = "contradictory: the measures are certain and opposite"


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        ("rises", "rises", "supported"),
        ("falls", "falls", "contradicted"),
        ("rises", "undecided", "undecided"),
        ("undecided", "rises", "undecided"),
        ("rises", "falls", CONTRADICTORY),
        ("undecided", "undecided", "undecided"),
    ],
)
def test_more_digits_right_needs_both_judges(a, b, verdict):
    assert claims(conditional_accuracy=a, conditional_accuracy_b=b) == [verdict]


def test_a_claim_that_holds_up_to_a_point_says_up_to_where():
    turn = Shape("rises then falls", (1, 2))
    trend = {
        name: Trend(name, (1.0, 2.0, 4.0, 8.0), (0.0,) * 4, (), shape)
        for name, shape in {"conditional_accuracy": turn, "conditional_accuracy_b": Shape("rises")}.items()
    }
    [verdict] = Ablation(grid(), pd.DataFrame(), {}, trend).claims.values()
    assert verdict == (
        "only in part: conditional_accuracy rises then falls (peak 2 to 4), conditional_accuracy_b rises"
    )


@pytest.mark.parametrize(
    ("coverage", "vendi", "l2", "verdict"),
    [
        ("falls", "falls", None, "supported"),
        ("falls", "falls", "undecided", "supported"),
        ("falls", "undecided", "falls", "supported"),
        ("falls", "undecided", None, "undecided"),
        ("falls", "undecided", "undecided", "undecided"),
        ("falls", "rises", None, CONTRADICTORY),
        ("undecided", "falls", "falls", "undecided"),
        ("rises", "rises", "rises", "contradicted"),
        ("rises", "rises", None, "contradicted"),
        ("rises", "rises", "undecided", "undecided"),
        ("rises", "falls", "falls", CONTRADICTORY),
    ],
)
def test_diversity_lost_needs_coverage_and_vendi_or_distance(coverage, vendi, l2, verdict):
    extra = {} if l2 is None else {"pairwise_l2": l2}
    assert claims(coverage_relative=coverage, vendi_ratio_read=vendi, **extra) == [verdict]


def test_a_model_without_labels_makes_no_claim():
    assert claims(neg_elbo="rises", bce="falls") == []


# ---- the grid


@pytest.mark.parametrize(
    ("values", "log"),
    [((0.1, 8), True), ((1, 4), True), ((1, 3.9), False), ((0, 1, 8), False), ((4, 1, 2), True)],
)
def test_the_axis_is_logarithmic_where_positive_values_span_a_factor_of_four(values, log):
    assert grid(values=values).log is log


def test_cells_are_every_value_with_every_seed_and_differ_in_nothing_else():
    config = grid(values=(0.5, 1.0, 4.0), seeds=3, base=quick_config(train__seed=7))
    cells = config.cells()
    assert [(c.train.beta, c.train.seed) for c in cells.values()] == [(b, s) for b in (0.5, 1, 4) for s in (7, 8, 9)]
    assert list(cells)[:2] == ["beta=0.5 seed 7", "beta=0.5 seed 8"]
    rest = [{k: v for k, v in c.flat().items() if k not in ("train.beta", "train.seed")} for c in cells.values()]
    assert all(settings == rest[0] for settings in rest)
    assert rest[0].items() <= config.base.flat().items()


def test_values_that_differ_in_the_ninth_digit_are_two_cells():
    assert len(grid(values=(1.0, 1.00000001), seeds=1).cells()) == 2


def test_whole_numbers_are_for_whole_settings():
    cells = grid(setting="model.latent_dim", values=(2.0, 8.0), seeds=1).cells()
    assert [c.model.latent_dim for c in cells.values()] == [2, 8]


@pytest.mark.parametrize(("text", "values"), [("1,2", (1, 2)), (" .5, 1e1 ,2", (0.5, 10, 2)), ("3", (3,))])
def test_values_are_numbers_with_commas_between(text, values):
    assert parse_values(text) == values


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--values", "a,b"), "--values is 'a,b'; it must be numbers with commas between, e.g. 0.5,1,2,4"),
        (("--values", "1,,2"), "--values is '1,,2'"),
        (("--values", ""), "--values is ''"),
        (("--values", "1"), "--values are 1; give two different ones"),
        (("--values", "2,2"), "--values are 2, 2; give two different ones"),
        (("--values", "1,-1"), "train.beta is -1.0; it must be a finite number, 0 or more"),
        (("--values", "1,nan"), "train.beta is nan; it must be a finite number"),
        (("--values", "1,inf"), "train.beta is inf; it must be a finite number"),
        (("--values", "1,2.5", "--param", "latent_dim"), "model.latent_dim is 2.5; it must be a whole number"),
        (("--param", "betta"), "--param betta names no setting; numbers that can be varied: model.latent_dim, "),
        (("--param", "kind"), "--param kind: model.kind is not a number"),
        (("--param", "seed"), "--param seed: a seed is not searched"),
        (("--seeds", "0"), "--seeds is 0; it must be 1 or more"),
        (("--name", "a/b"), "--name is 'a/b'"),
        (("--workers", "0"), "--workers is 0; it must be 1 or more"),
    ],
)
def test_a_mistake_is_one_clear_line(command, home, arguments, words):
    given = {"--param": "beta", "--values": "1,2"} | dict(zip(arguments[::2], arguments[1::2], strict=True))
    code, out, err = command("ablate", "--dataset", "digits", *(part for pair in given.items() for part in pair))
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {words}"), err
    assert err.count("\n") == 1, err
    assert not (home.root / "store").exists()


def test_a_value_too_large_for_the_data_fails_by_name(warm_home):
    config = grid(setting="train.batch_size", values=(64, 100_000), seeds=1, base=quick_config(train__epochs=1))
    with pytest.raises(StudyError, match=r"batch_size=100000 seed 0 failed: train\.batch_size is 100000") as error:
        run_grid(warm_home, config)
    assert "\n" not in str(error.value)
    assert statuses(warm_home) == {
        "parent": ["FAILED"],
        "batch_size=64 seed 0": ["FINISHED"],
        "batch_size=100000 seed 0": ["FAILED"],
    }


# ---- the journey


def recorded(home):
    client = mlflow_client(home)
    runs = client.search_runs([client.get_experiment_by_name("cvae-pipe").experiment_id])
    [parent] = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    return client, parent, [run for run in runs if run is not parent]


def statuses(home):
    """Of the parent and of every child by its name."""
    _, parent, children = recorded(home)
    found = {"parent": [parent.info.status]}
    for child in children:
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        found.setdefault(child.info.run_name, []).append(child.info.status)
    return found


@pytest.fixture(scope="module")
def finished(warm_root, tmp_path_factory):
    """A grid of 2 values and 2 seeds that ran through: (home, ablation, html, executor, states)."""
    from pipeline.runs.execute import set_up_process

    set_up_process(1)
    root = tmp_path_factory.mktemp("ablation") / "home"
    shutil.copytree(warm_root, root)
    home, states = Home(root, root / "data"), []
    executor = Here(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        result, html = run_grid(home, grid(), executor, lambda name, state: states.append((name, state)))
    return SimpleNamespace(home=home, result=result, html=html, executor=executor, states=states)


NAMES = [f"beta={value} seed {seed}" for value in ("0.5", "4") for seed in (0, 1)]


def test_every_cell_is_trained_once_and_told_of_from_waiting_to_complete(finished):
    assert finished.executor.submitted == NAMES
    for name in NAMES:
        own = [state for cell, state in finished.states if cell == name]
        assert own == ["waiting", "running", "epoch 1", "epoch 2", "complete"]


def test_the_table_holds_each_cells_test_metrics(finished):
    frame = finished.result.frame
    assert frame[["beta", "seed"]].values.tolist() == [[0.5, 0], [0.5, 1], [4, 0], [4, 1]]
    assert list(finished.result.outcomes) == NAMES
    for row, outcome in zip(frame.to_dict("records"), finished.result.outcomes.values(), strict=True):
        assert outcome.split == "test"
        assert {f"test/{k}": v for k, v in row.items() if k not in ("beta", "seed")} == outcome.metrics
    assert {trend.verdict for trend in finished.result.trends.values()} == {"undecided"}  # of two seeds
    assert finished.result.trends["kl"].steps[0].mean < 0  # what beta is for
    assert list(finished.result.trends) == named_metrics(list(frame.columns))


def test_the_report_is_there_with_every_section_and_the_same_numbers(finished):
    folder = finished.home.reports / "ablation-digits-beta"
    assert finished.html == folder / "report.html"
    text = (folder / "report.md").read_text()
    for title in ("Verdict", "Each metric", "Images", "Calibration", "Reproduce"):
        assert f"## {title}" in text
    for claim, verdict in finished.result.claims.items():
        assert claim in text
        assert verdict in text
    assert (folder / "images" / "metrics.png").exists()
    assert (folder / "images" / "grid-0.png").exists()
    assert (folder / "images" / "grid-1.png").exists()
    assert "<img" in finished.html.read_text()
    pd.testing.assert_frame_equal(pd.read_csv(folder / "cells.csv"), finished.result.frame, check_dtype=False)
    assert json.loads((folder / "ablation.json").read_text()) == finished.result.document()


def test_mlflow_holds_a_finished_parent_with_a_finished_child_per_cell(finished, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert statuses(finished.home) == {"parent": ["FINISHED"]} | {name: ["FINISHED"] for name in NAMES}
    client, parent, children = recorded(finished.home)
    assert parent.data.params["train.beta"] == "0.5, 4"
    assert all(claim in parent.data.tags["mlflow.note.content"] for claim in finished.result.claims)
    assert {"report.html", "cells.csv"} <= {f.path for f in client.list_artifacts(parent.info.run_id)}
    for child in children:
        outcome = finished.result.outcomes[child.info.run_name]
        assert child.data.tags["ablation"] == "beta"
        assert child.data.params["train.beta"] == str(outcome.config.train.beta)
        assert child.data.metrics["test/neg_elbo"] == outcome.metrics["test/neg_elbo"]


def test_repeating_the_command_trains_nothing_and_json_is_the_result(finished, command, monkeypatch, tmp_path):
    monkeypatch.setenv("CVAE_PIPE_HOME", str(finished.home.root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("sweeps.execution.placement.LocalExecutor", lambda home, workers: Here(home, limit=0))
    arguments = ("ablate", "--config", quick_toml(tmp_path, train__epochs=2), "--param", "beta", "--values", "0.5,4")
    arguments = (*arguments, "--judges", "1")
    code, out, err = command(*arguments, "--seeds", "2", "--json")
    assert code == 0, err
    document = json.loads(out)
    expected = finished.result.document() | {"report": str(finished.html)}
    assert {key: document[key] for key in expected} == expected
    assert set(expected) == {"name", "setting", "values", "seeds", "means", "trends", "claims", "report"}
    assert (document["kind"], document["settings"]["train.epochs"], document["seed"]) == ("ablation", 2, 0)
    assert document["key"] == recorded(finished.home)[1].data.tags["run_key"]
    own = [m["metrics"]["kl"]["mean"] for m in document["means"]]
    assert own == finished.result.frame.groupby("beta")["kl"].mean().tolist()
    assert set(document["trends"]["kl"]) == {*("metric", "verdict", "turn", "within", "judges", "means", "steps")}
    assert statuses(finished.home) == {"parent": ["FINISHED"]} | {name: ["FINISHED"] for name in NAMES}

    code, out, err = command(*arguments, "--seeds", "1", "--json", "--name", "one")  # two of the four are enough
    assert code == 0, err
    document = json.loads(out, parse_constant=pytest.fail)
    steps = [step for trend in document["trends"].values() for step in trend["steps"]]
    assert {(step["low"], step["high"]) for step in steps} == {(None, None)}
    assert {trend["verdict"] for trend in document["trends"].values()} == {"undecided"}
    assert set(document["claims"].values()) == {"undecided"}
    stored = (finished.home.reports / "one" / "ablation.json").read_text()
    assert (held := json.loads(stored, parse_constant=pytest.fail)) == {key: document[key] for key in held}

    code, out, _ = command(*arguments, "--seeds", "2")
    assert code == 0
    assert out.startswith("ablation-digits-beta: beta 0.5, 4; 2 seeds each, on test images\n- raising beta ")
    assert re.search(r"neg_elbo_expost ↓, as beta grows: undecided\n  beta 0\.5  +[\d.]+  sd [\d.]+\n  beta 4 ", out)
    assert f"report: {finished.html}" in out


def test_its_report_is_written_anew_from_its_name_and_no_number_has_drifted(finished, command, monkeypatch):
    monkeypatch.setenv("CVAE_PIPE_HOME", str(finished.home.root))
    before = finished.html.read_text()
    finished.html.unlink()
    code, out, _ = command("report", finished.result.config.name)
    assert (code, out) == (0, f"report: {finished.html}\n")
    assert finished.html.read_text() == before
    found = verify(finished.home, finished.html)
    assert found.drifted == ()
    aggregates = {n.source.aggregate for n in read_numbers(finished.html)}
    assert {"second half minus first", "mean", "sd", "value"} <= aggregates
    assert stored_ablations(finished.home)[finished.result.config.name] == finished.result.config


def test_an_ablation_that_is_not_finished_says_what_is_missing(warm_home, command):
    with pytest.raises(KeyboardInterrupt):
        run_grid(warm_home, grid(), Here(warm_home, limit=3))
    code, out, err = command("report", "ablation-digits-beta")
    assert (code, out) == (2, "")
    assert "no result for 1 of 4 cells, e.g. beta=4 seed 1" in err


def test_every_cell_is_on_the_wall(finished):
    [wall] = [block for block in ablation_report(finished.result).blocks if isinstance(block, Wall)]
    assert [tile.title for tile in wall.tiles] == [f"beta {v}, seed {s}" for v in ("0.5", "4") for s in (0, 1)]
    scored = ("conditional_accuracy_expost", "coverage_relative_expost", "neg_elbo_expost", "kl_expost")
    assert wall.names == ("beta", "seed", *scored)


def test_a_grid_stopped_in_the_middle_goes_on_and_ends_in_the_same_numbers(warm_home, finished):
    config = grid()
    with pytest.raises(KeyboardInterrupt):
        run_grid(warm_home, config, Here(warm_home, limit=2))
    assert statuses(warm_home)["parent"] == ["KILLED"]
    assert sorted(itertools.chain(*statuses(warm_home).values())) == ["FINISHED", "FINISHED", "KILLED", "KILLED"]
    executor = Here(warm_home)
    result, _ = run_grid(warm_home, config, executor)
    assert executor.submitted == NAMES[2:]
    assert statuses(warm_home) == {"parent": ["FINISHED"]} | {name: ["FINISHED"] for name in NAMES}
    pd.testing.assert_frame_equal(result.frame, finished.result.frame)
    assert result.document() == finished.result.document()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"name": "it's mine"},
        {"values": (1 / 3, 4.0), "base": quick_config(train__epochs=2, sampling__prior="mixture", data__split_seed=3)},
    ],
)
def test_the_command_in_the_report_makes_the_same_grid(finished, command, home, monkeypatch, changes):
    config = grid(**changes)
    printed = ablation_report(replace(finished.result, config=config)).sections[-1].blocks[0].text
    asked = []

    def stop(ctx, config, **rest):
        asked.append(config)
        raise StudyError("far enough")

    monkeypatch.setattr("sweeps.ablation.ablate", stop)
    words = shlex.split(printed)
    assert words[0] == "cvae-pipe"
    code, _, err = command(*words[1:])
    assert (code, err) == (2, "error: far enough\n")
    assert asked == [config]


def test_a_model_without_labels_has_a_report_without_claims_and_images(finished, tmp_path):
    kept = ("beta", "seed", "neg_elbo", "bce", "kl")
    strip = {
        name: replace(
            outcome,
            metrics={k: v for k, v in outcome.metrics.items() if k.partition("/")[2] in kept},
            grids={"reconstructed": outcome.grids["reconstructed"]},
            facts={k: v for k, v in outcome.facts.items() if k not in ("gates", "calibration")},
        )
        for name, outcome in finished.result.outcomes.items()
    }
    result = summarise_ablation(grid(name="vae"), strip)
    assert list(result.frame.columns) == list(kept)
    assert result.claims == {}
    text = write_ablation(result, Home(tmp_path, tmp_path)).with_name("report.md").read_text()
    assert "## Images" not in text
    assert "## Verdict" in text


# ---- the figure


def test_the_figure_depends_on_every_number_and_on_the_axis(finished):
    frame, labels = finished.result.frame, [("kl", "kl"), ("bce", "bce")]
    first = plots.ablation(frame, ("beta", "beta", True), labels)
    assert first == plots.ablation(frame, ("beta", "beta", True), labels)
    assert first[:8] == b"\x89PNG\r\n\x1a\n"
    assert first != plots.ablation(frame, ("beta", "beta", False), labels)
    assert first != plots.ablation(frame.assign(kl=frame["kl"] + frame["seed"]), ("beta", "beta", True), labels)
    one_seed = frame[frame["seed"] == 0]
    assert plots.ablation(one_seed, ("beta", "beta", True), labels[:1]) != first
