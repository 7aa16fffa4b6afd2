"""Everything worth knowing of a GPU in one command: equality with one by one, seconds per epoch at each K, a sweep.

Needs torch and what training and scoring import; neither MLflow nor Optuna: proposals are random, on a log scale. Runs
on the CPU too, small, to check itself (`--tiny`).
"""

import argparse
import importlib.util
import json
import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.usual import train_usual, usual_data
from pipeline.config.reading import build_config
from pipeline.config.settings import RunConfig
from pipeline.data.splits import PreparedData
from pipeline.runs.execute import execute, set_up_process
from pipeline.runs.outcome import load_outcome
from pipeline.stages.context import Context
from pipeline.stages.populations import train_population
from pipeline.stages.prepare import prepare
from pipeline.stages.reference import reference as reference_stage
from pipeline.store.home import Home
from pipeline.training.fit import fit, start
from pipeline.training.population import Population, capacity
from pipeline.training.state import Training

SIZES = (1, 8, 40, 128)


def random_configs(base: RunConfig, count: int) -> list[RunConfig]:
    """Settings from the default search space, in place of a study's proposals."""
    draw = random.Random(0)

    def between(low: float, high: float) -> float:
        return math.exp(draw.uniform(math.log(low), math.log(high)))

    return [
        base.with_settings(
            {
                "train.beta": between(0.1, 10),
                "model.latent_dim": round(between(2, 64)),
                "train.learning_rate": between(1e-4, 1e-2),
                "train.seed": seed,
            }
        )
        for seed in range(count)
    ]


def started(configs: list[RunConfig], data: PreparedData, device: torch.device) -> list[Training]:
    return [start(c.model, c.train, data, device) for c in configs]


def synchronised(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds of `work`, with everything it launched."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def single_epoch(config: RunConfig, data: PreparedData, device: torch.device) -> list[float]:
    """(b): seconds of each epoch of one model alone, the first left out."""
    [training] = started([config], data, device)
    epochs = fit(training, data, config.train)
    seconds = [synchronised(lambda: next(epochs), device) for _ in range(config.train.epochs)]
    return seconds[1:]


def population_epoch(configs: list[RunConfig], data: PreparedData, device: torch.device) -> dict[str, Any]:
    """Seconds of each epoch of a population, the first (with its capture) apart; and the last losses."""
    trainings = started(configs, data, device)
    population = Population(trainings, [c.train for c in configs], data)
    seconds = []
    while population.active:
        seconds.append(synchronised(population.epoch, device))
    losses = [t.history[-1].metrics["val/neg_elbo"] for t in trainings if t.history]
    return {"first": seconds[0], "seconds": seconds[1:], "val_neg_elbo": statistics.median(losses)}


def largest_difference(configs: list[RunConfig], data: PreparedData, device: torch.device) -> float:
    """The largest relative difference of a loss between members of a population and the same trainings one by one."""
    stacked, alone = started(configs, data, device), started(configs, data, device)
    population = Population(stacked, [c.train for c in configs], data)
    while population.active:
        population.epoch()
    worst = 0.0
    for a, b, config in zip(stacked, alone, configs, strict=True):
        list(fit(b, data, config.train))
        for own, reference in zip(a.history, b.history, strict=True):
            for key in ("train/loss", "val/loss"):
                worst = max(worst, abs(own.metrics[key] / reference.metrics[key] - 1))
    return worst


def sweep(configs: list[RunConfig], home: Home) -> dict[str, Any]:
    """Every configuration trained as a population, then evaluated and scored on validation images: seconds of each."""
    ctxs = [Context(config, home) for config in configs]
    began = time.perf_counter()
    failed = train_population(ctxs, lambda ends: set(), at_once=len(ctxs))
    trained = time.perf_counter()
    outcomes = [load_outcome(home, execute(ctx, "val").key) for i, ctx in enumerate(ctxs) if i not in failed]
    scored = time.perf_counter()
    return {
        "trials": len(ctxs),
        "epochs": configs[0].train.epochs,
        "failed": len(failed),
        "train_seconds": trained - began,
        "score_seconds": scored - trained,
        "best_val_neg_elbo": min(o.metrics["val/neg_elbo"] for o in outcomes),
        "best_val_conditional_accuracy": max(o.metrics["val/conditional_accuracy"] for o in outcomes),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results-gpu.json"))
    parser.add_argument(
        "--tiny", action="store_true", help="few members on scikit-learn's digits: a check, on any device"
    )
    parser.add_argument("--sizes", default="", help="population sizes with commas between")
    args = parser.parse_args()
    sizes = tuple(int(k) for k in args.sizes.split(",")) if args.sizes else (1, 3) if args.tiny else SIZES
    settings = {"data": {"dataset": "digits"}, "train": {"epochs": 3}} if args.tiny else {"train": {"epochs": 3}}
    base = build_config(settings)
    set_up_process(1)
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder), Home.from_environment().data_dir)
        ctx = Context(base, home, say=print)
        device = ctx.device
        name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
        print(f"{name}, torch {torch.__version__}")
        data = prepare(ctx)
        result: dict[str, Any] = {"device": name, "torch": torch.__version__, "images": len(data.train)}

        result["largest_relative_difference"] = largest_difference(random_configs(base, 4), data, device)
        print(f"population against one by one, 3 epochs: losses differ by {result['largest_relative_difference']:.1e}")
        usual: list[float] = []
        if importlib.util.find_spec("torchvision") is None:
            print("usual loop: not measured, it needs torchvision")
        elif not args.tiny:
            usual = list(usual_times(*usual_data(data.to("cpu"), home.data_dir), device))
            print(f"usual loop: {usual[-1]:.2f} s per epoch")
        result["usual"] = usual
        single = single_epoch(base, data, device)
        result["single"] = single
        print(f"one model alone: {statistics.median(single):.3f} s per epoch")
        result["population"] = {}
        for k in sizes:
            configs = random_configs(base, k)
            fits = capacity([(c.model, c.train) for c in configs], data, device, k)
            if fits < k:
                print(f"K = {k}: only {fits} fit into the memory")
                continue
            row = population_epoch(configs, data, device)
            result["population"][k] = row
            own = statistics.median(row["seconds"])
            line = f"K = {k}: {own:.3f} s per epoch, {k * statistics.median(single) / own:.1f} x one by one"
            print(line + (f", {k * usual[-1] / own:.0f} x the usual loop" if usual else ""))
        long = base.with_settings({"train.epochs": 3 if args.tiny else 20})
        reference_stage(ctx, "val")  # the judges, trained once per data set
        result["sweep"] = sweep(random_configs(long, 3 if args.tiny else 40), home)
        print("sweep: " + ", ".join(f"{key} {value:.4g}" for key, value in result["sweep"].items()))
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written: {args.out}")


def usual_times(train: Any, val: Any, device: torch.device) -> Any:
    """Seconds of two epochs of the usual loop."""
    began = time.perf_counter()
    for _ in train_usual(train, val, epochs=2, device=device.type):
        now = time.perf_counter()
        yield now - began
        began = now


if __name__ == "__main__":
    main()
