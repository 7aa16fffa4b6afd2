"""Wall time of whole sweeps by the real command, against Optuna's `optimize` around the usual loop."""

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.training import in_process
from benchmarks.usual import usual_data, usual_sweep
from pipeline.config.sections import DataConfig
from pipeline.data.preparing import prepare
from pipeline.store.files import read_json
from pipeline.store.store import MANIFEST

COMMAND = str(Path(sys.executable).with_name("cvae-pipe"))
STAGES = ("prepare", "judge", "reference", "calibration", "train", "evaluate", "score", "inside")
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
    judged = re.search(r"^judge: done in ([\d.]+) s", done.stderr, re.MULTILINE)
    return {
        "command": "cvae-pipe sweep " + " ".join(options),
        "seconds": wall,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "stage_seconds": {k: stages_after[k] - stages_before[k] for k in stages_after},
        "judge_seconds": float(judged[1]) if judged else 0.0,
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
    """Ours with and without early stopping, and the usual one for `usual_trials` trials, scaled to `trials`: its trials
    do not meet. The judges are trained by the first."""
    common = ("--dataset", "mnist", "--trials", str(trials), "--epochs", str(epochs))
    result: dict[str, Any] = {"trials": trials, "epochs": epochs}
    for pruner in ("pareto", "none"):
        row = timed_sweep(home, root, *common, "--name", pruner, "--pruner", pruner)
        result[f"pruner {pruner}"] = row
        print(f"ours, --pruner {pruner}, finals included: {row['seconds']:.0f} s", flush=True)
    usual = in_process(timed_usual, root, usual_trials, epochs)
    usual["scaled_seconds"] = usual["seconds"] * trials / usual_trials
    result["usual"] = usual
    print(
        f"usual: {usual['seconds']:.0f} s for {usual_trials} trials, {usual['scaled_seconds']:.0f} s scaled", flush=True
    )
    return result
