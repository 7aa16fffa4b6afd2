"""Wall time of whole sweeps by the real command, against Optuna's `optimize` around the usual loop."""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.training import in_process
from benchmarks.usual import usual_data, usual_sweep
from pipeline.api import load_study
from pipeline.config.sections import DataConfig
from pipeline.data.preparing import prepare
from pipeline.store.files import read_json
from pipeline.store.home import Home
from pipeline.store.store import MANIFEST

CONTESTANTS: dict[str, tuple[str, ...]] = {
    "empty store": (),
    "judges there": (),
    "judges there, pruner none": ("--pruner", "none"),
}
COMMAND = str(Path(sys.executable).with_name("cvae-pipe"))
STAGES = (
    *("prepare", "judge", "reference", "surroundings", "calibration", "train", "rung"),
    *("evaluate", "score", "prior", "expost", "copying", "inside"),
)
"""Training and scoring; everything else that takes time is what a sweep costs outside of them."""


def timed_usual(root: Path, trials: int, epochs: int) -> dict[str, Any]:
    """(d), with torch's own choice of threads."""
    train, val = usual_data(prepare(DataConfig(), root), root)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        best = usual_sweep(train, val, Path(folder), trials=trials, epochs=epochs)
        return {
            "seconds": time.perf_counter() - began,
            "trials": trials,
            "best": best,
            "threads": torch.get_num_threads(),
        }


def timed_sweep(home: Path, root: Path, *options: str) -> dict[str, Any]:
    """(e): the command, in a process of its own; wall and CPU seconds, and what of it was training and scoring."""
    environment = {**os.environ, "CVAE_PIPE_HOME": str(home), "CVAE_PIPE_DATA_DIR": str(root)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    before, stages_before = resource.getrusage(resource.RUSAGE_CHILDREN), stage_seconds(home)
    began = time.perf_counter()
    done = subprocess.run(
        [COMMAND, "sweep", "--json", *options],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    wall = time.perf_counter() - began
    after, stages_after = resource.getrusage(resource.RUSAGE_CHILDREN), stage_seconds(home)
    document = json.loads(done.stdout)
    return {
        "command": "cvae-pipe sweep " + " ".join(options),
        "seconds": wall,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "stage_seconds": {k: stages_after[k] - stages_before[k] for k in stages_after},
        "finished": document["finished"],
        "failed": document["failed"],
        "pruned": document["pruned"],
        "chosen": document["chosen"].get("values"),
    }


def stage_seconds(home: Path) -> dict[str, float]:
    """Seconds that the stored results took to make, by stage."""
    store = home / ".cache" / "store"
    return {
        stage: sum(read_json(path)["seconds"] for path in (store / stage).glob(f"*/{MANIFEST}")) for stage in STAGES
    }


def measure(root: Path, home: Path, *, trials: int, epochs: int, usual_trials: int) -> dict[str, Any]:
    """On MNIST: ours on an empty store, with the judges there, and without early stopping; and the usual one for
    `usual_trials` trials, scaled to `trials`: its trials do not meet. Each in a home of its own, so that none finds
    what another has trained."""
    common = ("--dataset", "mnist", "--trials", str(trials), "--epochs", str(epochs), "--name", "timed")
    result: dict[str, Any] = {"trials": trials, "epochs": epochs}
    for name, options in CONTESTANTS.items():
        own = home / name.replace(" ", "-")
        if name != "empty store":
            share_data(home / "empty-store", own)
        row = timed_sweep(own, root, *common, *options)
        result[name] = row | {"hypervolume": hypervolume(own)}
        print(f"ours, {name}: {row['seconds']:.0f} s, {row['pruned']} stopped", flush=True)
    usual = in_process(timed_usual, root, usual_trials, epochs)
    usual["scaled_seconds"] = usual["seconds"] * trials / usual_trials
    result["usual"] = usual
    print(
        f"usual: {usual['seconds']:.0f} s for {usual_trials} trials, {usual['scaled_seconds']:.0f} s scaled", flush=True
    )
    return result


def stopping(home: Path, root: Path, *, trials: int, seeds: int) -> list[dict[str, Any]]:
    """On scikit-learn's digits, per study seed: seconds and hypervolume with and without early stopping."""
    rows: list[dict[str, Any]] = []
    for seed in range(seeds):
        row: dict[str, Any] = {"seed": seed}
        for pruner in ("pareto", "none"):
            own = home / f"{pruner}-{seed}"
            if rows:
                share_data(home / "pareto-0", own)
            options = ("--dataset", "digits", "--trials", str(trials), "--name", "timed", "--sweep-seed", str(seed))
            found = timed_sweep(own, root, *options, "--pruner", pruner)
            row[pruner] = {k: found[k] for k in ("seconds", "pruned")} | {"hypervolume": hypervolume(own)}
        print(row, flush=True)
        rows.append(row)
    return rows


def share_data(source: Path, target: Path) -> None:
    """Give a home what belongs to the data set: images, judges, reference statistics."""
    for stage in ("prepare", "judge", "judge_a", "judge_b", "reference", "surroundings", "calibration"):
        shutil.copytree(source / ".cache" / "store" / stage, target / ".cache" / "store" / stage)


def hypervolume(home: Path) -> float:
    """Of the front of the study `timed`, on physical ranges, full-budget scores."""
    return load_study("timed", home=Home(home, home / "data")).summary.quantity("front/hypervolume")
