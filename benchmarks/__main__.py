"""`make bench`: every CPU contestant side by side in one run, a table, and JSON. About forty minutes on two cores."""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from benchmarks import growth, startup, sweeps, training
from pipeline.environment import git_commit
from pipeline.store.home import Home

PARTS = ("training", "startup", "growth", "sweeps", "stopping")


def spread(values: Iterable[float]) -> str:
    """Median and range."""
    found = sorted(values)
    return f"**{statistics.median(found):.2f}** ({found[0]:.2f} .. {found[-1]:.2f}, n = {len(found)})"


def training_rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    rounds = result["rounds"]

    def ratio(slow: str, fast: str) -> str:
        return spread(r[slow]["seconds"] / r[fast]["seconds"] for r in rounds)

    rows = [(f"{name}: s per epoch", spread(r[name]["seconds"] for r in rounds)) for name in rounds[0]]
    rows += [
        (f"{name}: val neg_elbo", f"{rounds[-1][name]['val_neg_elbo']:.2f}")
        for name in rounds[0]
        if "val_neg_elbo" in rounds[0][name]
    ]
    return [
        *rows,
        ("single model against the usual loop, one core each", ratio("usual, 1 thread", "ours, 1 thread")),
        ("2 workers against 1", ratio("executor, 1 worker", "executor, 2 workers")),
        ("2 workers against the usual loop on both cores", ratio("usual, torch's threads", "executor, 2 workers")),
        (
            "step over its bare products",
            spread(r["ours, 1 thread"]["step_seconds"] / r["products alone"]["seconds"] for r in rounds),
        ),
    ]


def sweep_rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    cold, warm, full = (result[name] for name in sweeps.CONTESTANTS)
    usual = result["usual"]
    stages_ = full["stage_seconds"]
    inside = sum(stages_.values())
    scoring = stages_["evaluate"] + stages_["score"] + stages_["prior"] + stages_["expost"]
    return [
        ("usual sweep, s", f"{usual['scaled_seconds']:.0f} ({usual['trials']} trials, scaled)"),
        ("ours, finals and report included, s", f"{warm['seconds']:.0f}"),
        ("ours with --pruner none, s", f"{full['seconds']:.0f}"),
        ("stopped early", f"{warm['pruned']} of {warm['finished']}"),
        ("ours against the usual sweep", f"{usual['scaled_seconds'] / warm['seconds']:.2f}"),
        ("ours, as a share of ours with --pruner none", f"{warm['seconds'] / full['seconds']:.2f}"),
        ("its hypervolume, as a share", f"{warm['hypervolume'] / full['hypervolume']:.4f}"),
        ("on an empty store, over the same with judges there", f"{cold['seconds'] / warm['seconds']:.2f}"),
        ("CPU outside training and scoring, share, --pruner none", f"{1 - inside / full['cpu_seconds']:.1%}"),
        ("evaluation, priors and scores, share of CPU, --pruner none", f"{scoring / full['cpu_seconds']:.1%}"),
        ("best val neg_elbo: usual", f"{usual['best']:.2f}"),
    ]


def stopping_rows(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    def ratio(key: str) -> str:
        return spread(row["pareto"][key] / row["none"][key] for row in rows)

    return [
        ("digits: early stopping, seconds as a share", ratio("seconds")),
        ("digits: early stopping, hypervolume as a share", ratio("hypervolume")),
    ]


def growth_rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for row in result["driver"]:
        first = next(r for r in result["driver"] if r["workers"] == row["workers"])
        ratio = row["cpu_seconds_per_trial"] / first["cpu_seconds_per_trial"]
        wall, cpu = (1000 * row[name] for name in ("seconds_per_trial", "cpu_seconds_per_trial"))
        figure = f"{wall:.0f}, of CPU {cpu:.0f} ({ratio:.2f} of the first; {row['megabytes']:.0f} MB)"
        rows.append((f"{row['workers']} workers, {row['trials']} trials: ms of driver per trial", figure))
    for r in result["report"]:
        sizes = f"{r['bytes'] / 2**20:.1f} MB, {r['bytes_beside'] / 2**20:.0f} MB beside it"
        figure = f"{r['seconds']:.1f} s ({r['cpu_seconds']:.1f} of CPU), {sizes}"
        rows.append((f"report of {r['trials']} trials", figure))
    return rows


def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between, in order."""
    return tuple(sorted(map(int, text.split(","))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=PARTS, help=f"of {', '.join(PARTS)}")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2, help="of each contestant in `training`")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--sweep-epochs", type=int, default=10)
    parser.add_argument("--sweep-seeds", type=int, default=5, help="study seeds in `stopping`")
    parser.add_argument("--usual-trials", type=int, default=4, help="of the usual sweep; the rest is scaled")
    parser.add_argument("--growth", type=numbers, default=(40, 400, 2000), help="sizes of a study in `growth`")
    parser.add_argument("--growth-workers", type=numbers, default=(8, 64, 256), help="simulated workers in `growth`")
    parser.add_argument("--growth-reports", type=numbers, default=(40, 1000), help="trials of the reports in `growth`")
    parser.add_argument("--home", type=Path, help="keep the sweeps here")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results.json"))
    args = parser.parse_args()
    root = Home.from_environment().data_dir
    result: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "commit": git_commit() or "",
        "torch": torch.__version__,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
    }
    rows: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        for part in args.parts:
            print(f"--- {part}", flush=True)
            if part == "training":
                result[part] = training.measure(root, repeats=args.repeats, epochs=args.epochs, jobs=4)
                rows += training_rows(result[part])
            elif part == "startup":
                (empty := Path(folder) / "startup").mkdir()
                result[part] = startup.measure(empty, args.repeats, trials=40)
                for name, seconds in result[part].items():
                    walls, processor = ([of[i] for of in seconds] for i in (0, 1))
                    rows += [(f"{name}, s", spread(walls)), (f"{name}, s of processor", spread(processor))]
            elif part == "growth":
                result[part] = growth.measure(args.growth, args.growth_reports, args.growth_workers)
                rows += growth_rows(result[part])
            elif part == "sweeps":
                home = args.home or Path(folder)
                result[part] = sweeps.measure(
                    root, home, trials=args.trials, epochs=args.sweep_epochs, usual_trials=args.usual_trials
                )
                rows += sweep_rows(result[part])
            elif part == "stopping":
                home = args.home or Path(folder)
                result[part] = sweeps.stopping(home, root, trials=args.trials, seeds=args.sweep_seeds)
                rows += stopping_rows(result[part])
            args.out.write_text(json.dumps(result, indent=1) + "\n")
    print("\n| what | figure |\n|---|---|\n" + "\n".join(f"| {name} | {figure} |" for name, figure in rows))
    print(f"written: {args.out}")


if __name__ == "__main__":
    main()
