"""Commands of single stages: prepare, train, evaluate, score, audit. Each builds what is missing before it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.answers import print_json
from pipeline.cli.help import examples
from pipeline.cli.options import Force, Json, SplitName, checked_split, configured
from pipeline.cli.session import found, short, stage_session, suggest
from pipeline.config.flags import flags
from pipeline.config.settings import RunConfig
from pipeline.wording import shortened

UNBALANCED = 2
"""How many times the images of its smallest class the largest has, from which their sizes are said."""

if TYPE_CHECKING:
    from pipeline.stages.context import Context
    from pipeline.stages.graph import Stage


@examples(
    "cvae-pipe prepare --dataset mnist",
    "cvae-pipe prepare --dataset digits",
    "cvae-pipe prepare --dataset path/to/letters --set data.size=32",
    "cvae-pipe prepare --dataset photos.npz --set data.channels=1",
)
@configured("data.dataset")
def prepare(config: RunConfig, *, force: Force = False, json_: Json = False) -> None:
    """Get a data set, check it and split it into train, val and test."""
    from pipeline.evaluation.reference import images_of_classes
    from pipeline.stages.graph import PREPARE
    from pipeline.stages.prepare import prepare as build

    with stage_session(config, force={"prepare"} if force else set()) as ctx:
        data = build(ctx)
        if json_:
            facts = {"shape": list(data.shape), "classes": list(data.class_names), "notes": list(data.notes)}
            print_json(_document(ctx, {PREPARE: ""}) | {"name": data.name, **facts})
            return
        found(f"{data.name}: {len(data.train):,} train, {len(data.val):,} val, {len(data.test):,} test images")
        colour = "" if data.channels == 1 else " of colour"
        found(
            f"{data.height} x {data.width} pixels{colour}, {data.classes} classes; "
            f"data SHA-256 {data.source_sha256[:16]}"
        )
        splits = (counts.tolist() for counts in images_of_classes(data).values())
        sizes = sorted(zip(map(sum, zip(*splits, strict=True)), data.class_names, strict=True))
        (few, smallest), (many, largest) = sizes[0], sizes[-1]
        if many > UNBALANCED * few:
            found(f"classes of {few:,} images ({shortened(smallest)}) to {many:,} ({shortened(largest)})")
        suggest(f"cvae-pipe run {flags(config)}")


@examples("cvae-pipe train --dataset digits", "cvae-pipe train --model vae --latent-dim 2 --epochs 10")
@configured()
def train(config: RunConfig, *, force: Force = False, json_: Json = False) -> None:
    """Train one model; an interrupted training goes on where it stopped."""
    from pipeline.stages.graph import TRAIN
    from pipeline.stages.train import train as build

    with stage_session(config, force={"train"} if force else set()) as ctx:
        trained = build(ctx)
        last, model = trained.history[-1], trained.folder / "model.safetensors"
        if json_:
            print_json(_document(ctx, {TRAIN: ""}, model=model) | {"epochs": last.epoch, "metrics": last.metrics})
            return
        found(", ".join(f"{key} {value:.2f}" for key, value in last.metrics.items() if key.startswith("val/")))
        found(f"model: {short(model)}")
        suggest(f"cvae-pipe run {flags(config)}")


@examples("cvae-pipe evaluate --dataset digits", "cvae-pipe evaluate --split val --json")
@configured()
def evaluate(config: RunConfig, *, split: SplitName = "test", force: Force = False, json_: Json = False) -> None:
    """Measure bce, kl and neg_elbo of a configuration, training it first if need be."""
    _measure(("evaluate",), config, split, force, json_, {"reconstructed": "reconstructed.png"})


@examples("cvae-pipe score --dataset digits", "cvae-pipe score --beta 4 --json")
@configured()
def score(config: RunConfig, *, split: SplitName = "test", force: Force = False, json_: Json = False) -> None:
    """Score generated images: conditional accuracy, coverage, diversity; trains first if need be."""
    _measure(("score", "expost"), config, split, force, json_, {"generated": "generated.png"})


@examples("cvae-pipe audit --dataset digits", "cvae-pipe audit --beta 4 --json")
@configured()
def audit(config: RunConfig, *, split: SplitName = "test", force: Force = False, json_: Json = False) -> None:
    """Measure the secondary suite: likelihood bound, diversity, latent health; takes minutes."""
    _measure(("audit",), config, split, force, json_, {"KL per dimension": "kl_per_dim.json"})


def _measure(
    names: tuple[str, ...], config: RunConfig, split: str, force: bool, json_: bool, files: dict[str, str]
) -> None:
    """Build the first of these stages of the table on a split, and the others where they apply; show their numbers and
    where the files of the last are."""
    from pipeline.cli.terminal.tables import print_metrics
    from pipeline.stages.graph import PRIOR, STAGES

    split = checked_split(split)
    asked = [s for s in STAGES if s.name in names]
    with stage_session(config, force={*names, PRIOR.name} if force else set()) as ctx:
        built = [s for s in asked if s is asked[0] or s.when(config, split)]
        results = [s.build(ctx, split) for s in built]
        metrics = {key: value for result in results for key, value in result.metrics.items()}
        paths = {name: results[-1].folder / file for name, file in files.items()}
        if json_:
            found_here = {"split": split, "metrics": metrics, **{name: str(path) for name, path in paths.items()}}
            print_json(_document(ctx, dict.fromkeys(built, split), **paths) | found_here)
            return
        print_metrics(metrics, meanings=True)
        for name, path in paths.items():
            found(f"{name}: {short(path)}")


def _document(ctx: "Context", built: "dict[Stage, str]", **paths: Path) -> dict[str, Any]:
    """What the JSON document says of single stages, each on its split: the key is that of the last."""
    from pipeline.runs.names import name_for
    from pipeline.runs.stored import seconds_of
    from pipeline.stages.prepare import result_facts
    from pipeline.store.store import KEY_LENGTH

    keys = {stage.name: stage.key(ctx.config, split) for stage, split in built.items()}
    facts, split = result_facts(ctx), next(reversed(built.values())) or "test"
    return {
        "name": name_for(ctx.home, ctx.config, split),
        "key": list(keys.values())[-1][:KEY_LENGTH],
        "keys": {name: key[:KEY_LENGTH] for name, key in keys.items()},
        "settings": ctx.config.flat(),
        "seed": ctx.config.train.seed,
        "data": {"dataset": ctx.config.data.name, "source_sha256": facts["source_sha256"], "images": facts["images"]},
        "seconds": seconds_of(ctx.home, keys),
        "paths": {name: str(path) for name, path in paths.items()},
    }
