"""How often copies among samples are found, and honest samples taken for copies: generators whose truth is known.

    python -m benchmarks.copying --datasets digits,mnist --draws 100

The bounds are those of validation images; honest samples are test images, as many of a class as a run draws (over and
over where there are fewer). Pixels and shape are counted apart.
"""

import argparse
from collections.abc import Callable
from functools import partial

from benchmarks.generators import COPIES, Generator, Images, enough, mixed, one_class
from pipeline.config.sections import DataConfig
from pipeline.data.preparing import prepare
from pipeline.data.splits import PreparedData
from pipeline.evaluation.copying import SAMPLES, Surroundings, copies_among, surroundings
from pipeline.evaluation.thresholds import SPACES
from pipeline.runs.execute import set_up_process
from pipeline.store.home import Home

SHARE = 0.1


def flagged(data: PreparedData, around: Surroundings, draw: Callable[[int], Images], draws: int) -> list[float]:
    """Share of the draws that are flagged: in pixels, in shape, in one of the two."""
    found = [[copies_among(draw(seed), data, around).spaces[s].flagged for s in SPACES] for seed in range(draws)]
    return [sum(hits) / draws for hits in (*zip(*found, strict=True), [any(pair) for pair in found])]


def _a_share(data: PreparedData, honest: Callable[[int], Images], generator: Generator, seed: int) -> Images:
    return mixed(data, honest(seed), generator, SHARE, seed)


def _a_class(data: PreparedData, honest: Callable[[int], Images], generator: Generator, seed: int) -> Images:
    return one_class(data, honest(seed), generator, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", default="digits,mnist")
    parser.add_argument("--draws", type=int, default=100)
    args = parser.parse_args()
    set_up_process(1)
    print("| data set | samples | pixels | shape | either |\n|---|---|---|---|---|")
    for name in args.datasets.split(","):
        data = prepare(DataConfig(dataset=name), Home.from_environment().data_dir)
        around = surroundings(data, data.val)
        honest = partial(enough, data.test, data.classes, SAMPLES[True])
        rows: dict[str, Callable[[int], Images]] = {"test images": honest}
        for kind, generator in COPIES.items():
            rows[f"{SHARE:.0%} {kind}"] = partial(_a_share, data, honest, generator)
            rows[f"one class {kind}"] = partial(_a_class, data, honest, generator)
        for kind, draw in rows.items():
            shares = flagged(data, around, draw, args.draws)
            print(f"| {name} | {kind} | " + " | ".join(f"{share:.0%}" for share in shares) + " |", flush=True)


if __name__ == "__main__":
    main()
