"""What every metric reads on generators whose truth is known: the tables of docs/METRICS.md.

    python -m benchmarks.metrics --datasets digits,mnist

Samples are replaced by known ones and scored by the product's own functions, as many as there are reference images.
`nearest_train_ratio` is what memorisation was read from before: mean distance to the nearest training image, over that
of held-out images, flagged below .5.
"""

import argparse
from pathlib import Path

import torch

from benchmarks.generators import COPIES, Images, classes_turned, real, repeated, replaced
from pipeline.config.reading import build_config
from pipeline.data.splits import PreparedData
from pipeline.evaluation.copying import copies_among, surroundings
from pipeline.evaluation.metrics.neighbours import nearest_distances
from pipeline.evaluation.reference import class_means, scores_of_images, vendi_per_class
from pipeline.runs.execute import set_up_process
from pipeline.stages.context import Context
from pipeline.stages.judge import judge
from pipeline.stages.prepare import prepare
from pipeline.stages.reference import reference
from pipeline.store.home import Home

COLUMNS = (
    *("conditional_accuracy", "coverage_relative", "coverage_equivalent", "vendi_ratio_read", "vendi_ratio"),
    *("data_copying", "data_copying_shape", "data_copying_flagged", "nearest_train_ratio"),
)
SEED = 1


def generators(data: PreparedData, n: int) -> dict[str, Images]:
    """Name -> (K, n, D). Honest images are of the split that is no reference: validation images."""
    honest = real(data.val, data.classes, n, SEED)
    copied = {name: make(data, n, SEED) for name, make in COPIES.items()}
    means = class_means(data.train, data.classes)[:, None].expand_as(honest)
    noise = torch.rand(honest.shape, generator=torch.Generator().manual_seed(SEED))
    one = honest[:, :1].expand_as(honest)
    shares = (0.1, 0.25, 0.5)
    return {
        "held-out images": honest,
        **{f"{share:.0%} of them one image": replaced(honest, one, share) for share in shares},
        **{f"{share:.0%} of another class": replaced(honest, classes_turned(honest), share) for share in shares},
        **{f"{share:.0%} noise": replaced(honest, noise, share) for share in shares},
        **{f"{share:.0%} class means": replaced(honest, means, share) for share in shares},
        "10 images a class, repeated": repeated(honest, 10),
        "one image a class, repeated": one,
        "the class means": means,
        "noise": noise,
        "10% training images": replaced(honest, copied["copies"], 0.1),
        **{f"training images{'' if name == 'copies' else f', {name}'}": images for name, images in copied.items()},
    }


def rows(dataset: str, home: Home) -> dict[str, dict[str, float]]:
    """Generator -> metric -> value, against test images of a data set at its default settings."""
    config = build_config(flags={"data.dataset": dataset})
    ctx = Context(config, home)
    data, judges, against = prepare(ctx), judge(ctx).judges, reference(ctx, "test")
    around = surroundings(data, data.test)
    n = against.per_class
    held_out = float(
        nearest_distances(real(data.val, data.classes, n, SEED).flatten(0, 1), data.train.as_float()).mean()
    )
    found = {}
    for name, images in generators(data, n).items():
        copying = copies_among(images, data, around)
        flat = images.flatten(0, 1)
        found[name] = {
            **scores_of_images(judges, against, images, against.classes),
            "vendi_ratio": float((vendi_per_class(against.pca, images) / against.vendi).mean()),
            "data_copying": copying.spaces["pixels"].share,
            "data_copying_shape": copying.spaces["shape"].share,
            "data_copying_flagged": float(any(space.flagged for space in copying.spaces.values())),
            "nearest_train_ratio": float(nearest_distances(flat, data.train.as_float()).mean()) / held_out,
        }
    return found


def table(dataset: str, found: dict[str, dict[str, float]]) -> str:
    """The rows as markdown between marks, so that the page can be written anew and held against the code."""
    lines = [
        f"<!-- generators {dataset} -->",
        "| samples | " + " | ".join(COLUMNS) + " |",
        "|---|" + "---:|" * len(COLUMNS),
    ]
    for name, row in found.items():
        cells = [("yes" if row[c] else "no") if c == "data_copying_flagged" else f"{row[c]:.3f}" for c in COLUMNS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, f"<!-- /generators {dataset} -->"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", default="digits,mnist")
    parser.add_argument(
        "--write", type=Path, help="a page whose tables are to be replaced; by default they are printed"
    )
    args = parser.parse_args()
    set_up_process(1)
    for dataset in args.datasets.split(","):
        text = table(dataset, rows(dataset, Home.from_environment()))
        if args.write is None:
            print(text)
            continue
        page = args.write.read_text(encoding="utf-8")
        head, rest = page.split(f"<!-- generators {dataset} -->")
        args.write.write_text(head + text + rest.split(f"<!-- /generators {dataset} -->")[1], encoding="utf-8")


if __name__ == "__main__":
    main()
