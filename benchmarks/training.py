"""Seconds per epoch of one model: the usual loop, ours, the executor's workers, and the bare matrix products."""

import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.usual import train_usual, usual_data
from pipeline.config.reading import build_config
from pipeline.config.sections import DataConfig, ModelConfig, TrainConfig
from pipeline.config.settings import RunConfig
from pipeline.data.preparing import prepare
from pipeline.data.splits import PreparedData
from pipeline.models.linear import product
from pipeline.runs.execute import set_up_process
from pipeline.stages.context import Context
from pipeline.stages.prepare import prepare as prepare_stage
from pipeline.store.home import Home
from pipeline.training.fit import fit, start
from sweeps.execution.jobs import EpochDone, Job
from sweeps.execution.local import LocalExecutor


def usual_epochs(data: PreparedData, root: Path, epochs: int, threads: int | None) -> dict[str, Any]:
    """(a): the usual loop on that many threads; None is torch's own choice, which is faster than asking for two."""
    if threads is not None:
        torch.set_num_threads(threads)
    torch.set_flush_denormal(False)  # it does not know of it
    train, val = usual_data(data, root)
    began = time.perf_counter()
    history = list(train_usual(train, val, epochs=epochs))
    return {"seconds": (time.perf_counter() - began) / epochs, "val_neg_elbo": history[-1].val_neg_elbo}


def our_epochs(data: PreparedData, epochs: int) -> dict[str, Any]:
    """(b): our single-model path on one thread, validation included as in (a)."""
    set_up_process(threads=1)
    config = TrainConfig(epochs=epochs)
    began = time.perf_counter()
    history = list(fit(start(ModelConfig(), config, data, torch.device("cpu")), data, config))
    seconds = (time.perf_counter() - began) / epochs
    steps = [len(data.train) / record.metrics["train/images_per_second"] for record in history]
    return {
        "seconds": seconds,
        "step_seconds": sum(steps) / epochs,  # an epoch without its validation
        "val_neg_elbo": history[-1].metrics["val/neg_elbo"],
    }


def product_floor(data: PreparedData, epochs: int) -> dict[str, Any]:
    """The matrix products of every step of an epoch and nothing else, by the library that our step uses."""
    set_up_process(threads=1)
    model, batch = ModelConfig(), TrainConfig().batch_size
    D, K, Z, (H,) = data.pixels, data.classes, model.latent_dim, model.hidden
    sizes = [(D + K, H), (H, 2 * Z), (Z + K, H), (H, D)]  # in, out
    products = []
    for i, (n_in, n_out) in enumerate(sizes):
        x, w, g = torch.randn(batch, n_in), torch.randn(n_out, n_in), torch.randn(batch, n_out)
        products += [(x, w.T), (g.T, x)]  # forward, and the weight's gradient
        if i:
            products.append((g, w))  # the input's gradient
    steps = len(data.train) // batch
    began = time.perf_counter()
    for _ in range(epochs * steps):
        for a, b in products:
            product(a, b)
    return {"seconds": (time.perf_counter() - began) / epochs}


def executor_epochs(home: Home, workers: int, jobs: int, epochs: int) -> dict[str, Any]:
    """(c): seconds of wall time per trained epoch by the sweep's executor, from the first epoch to the last."""
    base = build_config({"train": {"epochs": epochs + 1}, "model": {"kind": "vae"}})
    waiting = [
        Job(str(seed), base.with_settings({"train.seed": _fresh_seed(workers, seed)}), "val") for seed in range(jobs)
    ]
    executor = LocalExecutor(home, workers)
    first: dict[str, float] = {}
    ended, done, count = 0, 0.0, 0
    try:
        while ended < jobs:
            while waiting and executor.free:
                executor.submit(waiting.pop(0))
            for event in executor.events(timeout=0.5):
                now = time.perf_counter()
                if isinstance(event, EpochDone):
                    if len(first) < workers and event.job not in first:
                        first[event.job] = now  # the start of the processes is not what is measured
                    else:
                        count, done = count + 1, now
                else:
                    assert type(event).__name__ == "JobDone", event
                    ended += 1
    finally:
        executor.close()
    return {"seconds": (done - max(first.values())) / count}


def _fresh_seed(workers: int, seed: int) -> int:
    return 1000 * workers + seed


def in_process(target: Any, *arguments: Any) -> dict[str, Any]:
    """Run it in a fresh interpreter: what one contestant sets up does not touch the next."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(target, arguments)


def measure(root: Path, *, repeats: int, epochs: int, jobs: int) -> dict[str, Any]:
    """Every contestant in turn, `repeats` times."""
    data = prepare(DataConfig(), root)
    rounds = []
    for i in range(repeats):
        row = {
            "usual, 1 thread": in_process(usual_epochs, data, root, epochs, 1),
            "usual, torch's threads": in_process(usual_epochs, data, root, epochs, None),
            "ours, 1 thread": in_process(our_epochs, data, epochs),
            "products alone": in_process(product_floor, data, epochs),
        }
        with tempfile.TemporaryDirectory() as folder:
            home = Home(Path(folder), root)
            prepare_stage(Context(RunConfig(), home))
            for workers in (1, 2):
                row[f"executor, {workers} worker{'s' * (workers > 1)}"] = executor_epochs(home, workers, jobs, epochs)
        rounds.append(row)
        print(f"round {i + 1}: " + ", ".join(f"{name} {r['seconds']:.2f} s" for name, r in row.items()), flush=True)
    return {"images": len(data.train), "epochs": epochs, "rounds": rounds}
