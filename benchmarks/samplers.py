"""Which sampler finds most: hypervolume after 10, 20 and 40 trials, by replay on recorded trials.

First configurations spread over the default space are trained and scored once (`--record`; on a GPU as populations).
Then a smooth surrogate of their results (a Gaussian process per objective, its noise drawn anew for each trial) stands
in for training, so that every sampler can be run from many study seeds in seconds a study. The surrogate's own fit,
cross-validated, is printed: where it knows nothing, the replay says nothing.

    python -m benchmarks.samplers --record mnist=64 --table mnist.json
    python -m benchmarks.samplers --table mnist.json --seeds 20
    python -m benchmarks.samplers --table mnist.json --samplers tpe --after 200,400,1000 --memory 200,400,0
"""

import argparse
import json
import statistics
import tempfile
import time
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState, create_trial

from pipeline.config.digests import derive_seed
from pipeline.config.reading import build_config
from pipeline.runs.execute import execute, set_up_process
from pipeline.runs.outcome import load_outcome
from pipeline.stages.context import Context
from pipeline.stages.populations import train_population
from pipeline.store.home import Home
from sweeps.study.config import StudyConfig
from sweeps.study.hypervolume import gains, hypervolume_history
from sweeps.study.objective import chosen, physical_range, values
from sweeps.study.proposals import Proposals
from sweeps.study.samplers import SAMPLERS, sobol_point
from sweeps.study.space import DEFAULT_SPACE

AFTER = (10, 20, 40)
"""Trials."""


def record(dataset: str, count: int, home: Home) -> dict[str, Any]:
    """Params and validation objectives of `count` Sobol points, trained one by one, or as populations on a GPU."""
    base = build_config({"data": {"dataset": dataset}})
    objectives = chosen((), base.model.kind, base.sampling.prior)
    points = [dict(sobol_point(DEFAULT_SPACE, n, seed=0)) for n in range(count)]
    configs = [
        base.with_settings(
            {d.setting: point[d.name] for d in DEFAULT_SPACE} | {"train.seed": derive_seed("record", 0, n)}
        )
        for n, point in enumerate(points)
    ]
    ctxs = [Context(config, home) for config in configs]
    if ctxs[0].device.type == "cuda":
        train_population(ctxs, lambda ends: set(), at_once=len(ctxs))
    rows: list[dict[str, Any]] = []
    ranges: list[tuple[float, float]] = []
    for point, ctx in zip(points, ctxs, strict=True):
        outcome = load_outcome(home, execute(ctx, "val").key)
        rows.append({"params": point, "values": values(objectives, outcome.metrics)})
        ranges = [physical_range(o, outcome.metrics, classes=outcome.facts["classes"]) for o in objectives]
        print(f"{len(rows)}/{count}", rows[-1], flush=True)
    return {"dataset": dataset, "objectives": [o.name for o in objectives], "ranges": ranges, "trials": rows}


class Surrogate:
    """Objectives as functions of the params: a Gaussian process each, on the scales that are searched."""

    def __init__(self, table: dict[str, Any]) -> None:
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
        from sklearn.model_selection import cross_val_predict

        x = np.array([self._place(row["params"]) for row in table["trials"]])
        y = np.array([row["values"] for row in table["trials"]])
        self._scale = y.mean(0), y.std(0)
        self._models, self.noise, self.explained = [], [], []
        for column in ((y - self._scale[0]) / self._scale[1]).T:
            kernel = ConstantKernel() * Matern([1.0] * x.shape[1], nu=2.5) + WhiteKernel(0.1, (1e-4, 1.0))
            model = GaussianProcessRegressor(kernel, n_restarts_optimizer=2, random_state=0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a length scale at its bound: a setting that hardly matters
                predicted = cross_val_predict(model, x, column, cv=8)
                model.fit(x, column)
            self._models.append(model)
            self.noise.append(float(np.sqrt(model.kernel_.k2.noise_level)))
            self.explained.append(1 - float(((predicted - column) ** 2).mean()))

    @staticmethod
    def _place(params: dict[str, Any]) -> list[float]:
        return [
            float(np.log(params[d.name] / d.low) / np.log(d.high / d.low))
            if d.log
            else float((params[d.name] - d.low) / (d.high - d.low))
            for d in DEFAULT_SPACE
        ]

    def __call__(self, params: dict[str, Any], *, seed: int) -> list[float]:
        """What a training gives, with its noise."""
        x = np.array([self._place(params)])
        noise = np.random.default_rng(seed).standard_normal(len(self._models)) * self.noise
        found = np.array([model.predict(x)[0] for model in self._models]) + noise
        return (found * self._scale[1] + self._scale[0]).tolist()


def replay(
    table: dict[str, Any], surrogate: Surrogate, sampler: str, seed: int, *, trials: int, memory: int | None = None
) -> tuple[list[float], float]:
    """Hypervolume after each trial of one study whose sampler knows so many, and seconds of a processor that a proposal
    took."""
    base = build_config({"data": {"dataset": table["dataset"]}})
    objectives = chosen(tuple(table["objectives"]), base.model.kind, base.sampling.prior)
    config = StudyConfig(
        "replay", base, DEFAULT_SPACE, objectives, seed=seed, sampler=sampler, pruner="none", memory=memory
    )
    proposals, results = Proposals(config), dict[int, FrozenTrial]()
    seconds = 0.0
    for n in range(trials):
        began = time.process_time()
        params = proposals.propose(n, results)
        seconds += time.process_time() - began
        assert params is not None
        told = surrogate(params, seed=derive_seed("noise", seed, n))
        results[n] = create_trial(
            state=TrialState.COMPLETE, params=params, distributions=config.distributions, values=told
        )
    worth = gains(np.array([results[n].values for n in range(trials)]), table["ranges"])
    return hypervolume_history(worth), seconds / trials


def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between."""
    return tuple(map(int, text.split(",")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True, help="recorded trials: written with --record, else read")
    parser.add_argument("--record", metavar="DATASET=N", help="train N configurations and write the table")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--samplers", default=",".join(SAMPLERS))
    parser.add_argument("--after", type=numbers, default=AFTER, help="trials after which to measure")
    parser.add_argument("--memory", type=numbers, default=(0,), help="trials that a sampler knows at most; 0: all")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    set_up_process(1)
    if args.record:
        dataset, _, count = args.record.partition("=")
        with tempfile.TemporaryDirectory() as folder:
            table = record(dataset, int(count), Home(Path(folder), Home.from_environment().data_dir))
        args.table.write_text(json.dumps(table))
        return
    table = json.loads(args.table.read_text())
    surrogate = Surrogate(table)
    print(f"{table['dataset']}, {len(table['trials'])} recorded trials")
    for name, explained, noise in zip(table["objectives"], surrogate.explained, surrogate.noise, strict=True):
        print(f"  surrogate of {name}: explains {explained:.0%} of the variance, noise {noise:.2f} sd")
    rows = []
    for sampler, memory in product(args.samplers.split(","), args.memory):
        known = {"trials": max(args.after), "memory": memory or None}
        runs = [replay(table, surrogate, sampler, seed, **known) for seed in range(args.seeds)]
        found = {n: [history[n - 1] for history, _ in runs] for n in args.after}
        seconds = statistics.median(s for _, s in runs)
        row = {"sampler": sampler, "memory": memory, "seconds_per_proposal": seconds}
        rows.append(row | {str(n): v for n, v in found.items()})
        shown = "  ".join(
            f"{n}: {statistics.median(v):.4f} [{np.quantile(v, 0.25):.4f}, {np.quantile(v, 0.75):.4f}]"
            for n, v in found.items()
        )
        name = f"{sampler}, knows {memory}" if memory else sampler
        print(f"{name:22}  {shown}  {seconds * 1e3:.0f} ms of CPU a proposal", flush=True)
    if args.out:
        args.out.write_text(json.dumps({"table": str(args.table), "seeds": args.seeds, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
