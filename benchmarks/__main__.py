"""`make bench`: seconds per epoch of the usual training loop and of ours, in turn on one core, and their ratio."""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import torch

from benchmarks.usual import train_usual
from pipeline.config import DataConfig, ModelConfig, TrainConfig
from pipeline.data import prepare
from pipeline.run import set_up_process
from pipeline.store import Home
from pipeline.training import fit, start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results.json"))
    args = parser.parse_args()

    data = prepare(DataConfig(dataset=args.dataset), Home.from_environment().data_dir)
    config = TrainConfig(epochs=args.epochs)
    rows = []
    for _ in range(args.repeats):
        set_up_process(threads=1)
        torch.set_flush_denormal(False)  # the usual loop does not know of it
        began = time.perf_counter()
        usual_loss = train_usual(
            data.train.images,
            data.train.labels,
            epochs=config.epochs,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
        )
        usual = (time.perf_counter() - began) / config.epochs
        set_up_process(threads=1)
        began = time.perf_counter()
        history = list(fit(start(ModelConfig(), config, data, torch.device("cpu")), data, config))
        ours = (time.perf_counter() - began) / config.epochs
        rows.append(
            {"usual": usual, "ours": ours, "usual_loss": usual_loss, "ours_loss": history[-1].metrics["train/loss"]}
        )
        print(f"usual {usual:.2f} s/epoch, ours {ours:.2f} s/epoch (validation included), ratio {usual / ours:.2f}")
    ratios = [row["usual"] / row["ours"] for row in rows]
    result = {
        "dataset": args.dataset,
        "images": len(data.train),
        "epochs": config.epochs,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "threads": 1,
        "runs": rows,
        "ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios), "n": len(ratios)},
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"ratio: median {result['ratio']['median']:.2f}, {min(ratios):.2f} .. {max(ratios):.2f}, n = {len(ratios)}")
    last = rows[-1]
    print(f"training loss after {config.epochs} epochs: usual {last['usual_loss']:.2f}, ours {last['ours_loss']:.2f}")
    print(f"written: {args.out}")


if __name__ == "__main__":
    main()
