"""The systems of the reference report in one table: who has which number, and whose the classifier's is."""

import json
import shutil
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import mlflow_client, quick_config, quick_toml

from pipeline.cli import main as cli
from pipeline.experiments.baselines import Baseline, baseline_table, baselines
from pipeline.runs.execute import set_up_process
from pipeline.runs.outcome import load_outcome
from pipeline.stages.context import Context
from pipeline.stages.graph import run_key
from pipeline.stages.judge import judge
from pipeline.stages.prepare import prepare
from pipeline.store.home import Home
from pipeline.tracking import MlflowTracker
from sweeps.reporting.verify import verify

SYSTEMS = ["ae", "vae", "cvae", "MLP classifier"]


@pytest.fixture(scope="module")
def made(warm_root, tmp_path_factory):
    """The baselines of a quick configuration, and what the stages said."""
    set_up_process(1)
    root = tmp_path_factory.mktemp("baselines") / "home"
    shutil.copytree(warm_root, root)
    home, said = Home(root, root / "data"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        ctx = Context(quick_config(train__epochs=2), home, say=said.append)
        rows = baselines(ctx, lambda: MlflowTracker.connect(home, "cvae-pipe", on_warning=pytest.fail))
    return SimpleNamespace(home=home, ctx=ctx, rows=rows, said=said)


def defined(row):
    return {name for name, value in row.document().items() if value is not None} - {"system"}


def test_every_system_has_what_is_defined_for_it_and_nothing_else(made):
    assert [row.system for row in made.rows] == SYSTEMS
    assert [defined(row) for row in made.rows] == [
        {"bce"},
        {"bce", "kl", "neg_elbo", "neg_elbo_expost"},
        {"bce", "kl", "neg_elbo", "neg_elbo_expost", "conditional_accuracy", "conditional_accuracy_expost"}
        | {"coverage_relative", "coverage_relative_expost"},
        {"classifier_accuracy"},
    ]


def test_the_numbers_are_those_of_the_runs_on_test(made):
    for row in made.rows[:3]:
        config = made.ctx.config.with_settings({"model.kind": row.system})
        metrics = load_outcome(made.home, run_key(config, "test")).metrics
        assert {name: metrics[f"test/{name}"] for name in defined(row)} == {n: getattr(row, n) for n in defined(row)}
    for row in made.rows[1:3]:
        assert row.neg_elbo == pytest.approx(row.bce + row.kl)


def test_the_classifiers_accuracy_is_judge_b_on_the_real_test_images(made):
    data, judges = prepare(made.ctx), judge(made.ctx).judges
    read = judges.b(data.test.as_float()).argmax(-1)
    assert made.rows[3].classifier_accuracy == (read == data.test.labels).double().mean().item()


def test_each_system_is_trained_once_and_recorded_as_a_run_of_its_own(made, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert [line.partition(",")[0] for line in made.said if line.startswith("train") and "done" in line] == [
        f"train ({kind}" for kind in SYSTEMS[:3]
    ]
    client = mlflow_client(made.home)
    runs = client.search_runs([client.get_experiment_by_name("cvae-pipe").experiment_id])
    assert sorted(run.data.tags["model"] for run in runs) == sorted(SYSTEMS[:3])
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_a_dash_stands_where_a_quantity_is_not_defined():
    rows = [Baseline("ae", bce=81.234), Baseline("cvae", 80.0, 21.5, 101.5, 0.875), Baseline("MLP classifier")]
    table = baseline_table(rows)
    assert table.columns == ("on test images", "ae", "cvae", "MLP classifier")
    assert table.rows == (
        ("bce", "81.23", "80.00", "-"),
        ("kl", "-", "21.50", "-"),
        ("neg_elbo", "-", "101.50", "-"),
        ("conditional_accuracy", "-", "0.8750", "-"),
    )


def test_the_command_shows_the_table_or_the_document_and_trains_nothing_again(made, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("CVAE_PIPE_HOME", str(made.home.root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def call(*more):
        arguments = ["cvae-pipe", "baselines", "--config", str(quick_toml(tmp_path, train__epochs=2)), *more]
        monkeypatch.setattr(sys, "argv", arguments)
        before = signal.getsignal(signal.SIGTERM)
        capsys.readouterr()
        try:
            with pytest.raises(SystemExit) as left:
                cli.main()
        finally:
            signal.signal(signal.SIGTERM, before)
        assert not left.value.code
        return capsys.readouterr()

    out, err = call("--json")
    document = json.loads(out)
    assert document["baselines"] == [row.document() for row in made.rows]
    assert list(document["keys"]) == SYSTEMS[:3]
    assert "train" not in "".join(line for line in err.splitlines() if "done in" in line)
    page = Path(document["report"])
    assert page == made.home.reports / page.parent.name / "report.html"
    assert page.parent.name.startswith("baselines-digits-z4-h64-e2")
    assert (page.with_name("report.md")).exists()
    checked = verify(made.home, page)
    assert checked.sound
    assert checked.numbers > 15
    assert page.parent.name in (made.home.reports / "index.html").read_text()
    shown, _ = call()
    assert "coverage_relative_expost" in shown
    assert f"report: {page}" in shown
    assert all(system in shown for system in SYSTEMS)
    assert f"{made.rows[2].conditional_accuracy:.4f}" in shown
