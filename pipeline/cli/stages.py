"""Commands of single stages: prepare, train, evaluate, score, audit. Each builds what is missing before it."""

from pipeline.cli.options import Force, Json, SplitName, checked_split, configured, examples
from pipeline.cli.session import say, show_metrics, stage_session, suggest
from pipeline.config.flags import flags
from pipeline.config.settings import RunConfig
from pipeline.wording import shortened

UNBALANCED = 2
"""How many times the images of its smallest class the largest has, from which their sizes are said."""


@examples(
    "cvae-pipe prepare --dataset mnist",
    "cvae-pipe prepare --dataset digits",
    "cvae-pipe prepare --dataset path/to/letters --set data.size=32",
    "cvae-pipe prepare --dataset photos.npz --set data.channels=1",
)
@configured("data.dataset")
def prepare(config: RunConfig, *, force: Force = False) -> None:
    """Get a data set, check it and split it into train, val and test."""
    from pipeline.evaluation.reference import images_of_classes
    from pipeline.stages.prepare import prepare as build

    with stage_session(config, force={"prepare"} if force else set()) as ctx:
        data = build(ctx)
        say(f"{data.name}: {len(data.train):,} train, {len(data.val):,} val, {len(data.test):,} test images")
        colour = "" if data.channels == 1 else " of colour"
        say(
            f"{data.height} x {data.width} pixels{colour}, {data.classes} classes; "
            f"data SHA-256 {data.source_sha256[:16]}"
        )
        splits = (counts.tolist() for counts in images_of_classes(data).values())
        sizes = sorted(zip(map(sum, zip(*splits, strict=True)), data.class_names, strict=True))
        (few, smallest), (many, largest) = sizes[0], sizes[-1]
        if many > UNBALANCED * few:
            say(f"classes of {few:,} images ({shortened(smallest)}) to {many:,} ({shortened(largest)})")
        suggest(f"cvae-pipe run {flags(config)}")


@examples("cvae-pipe train --dataset digits", "cvae-pipe train --model vae --latent-dim 2 --epochs 10")
@configured()
def train(config: RunConfig, *, force: Force = False) -> None:
    """Train one model; an interrupted training goes on where it stopped."""
    from pipeline.stages.train import train as build

    with stage_session(config, force={"train"} if force else set()) as ctx:
        trained = build(ctx)
        last = trained.history[-1]
        say(", ".join(f"{key} {value:.2f}" for key, value in last.metrics.items() if key.startswith("val/")))
        say(f"model: {trained.folder / 'model.safetensors'}")
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
    from pipeline.stages.graph import PRIOR, STAGES

    split = checked_split(split)
    asked = [s for s in STAGES if s.name in names]
    with stage_session(config, force={*names, PRIOR.name} if force else set()) as ctx:
        results = [s.build(ctx, split) for s in asked if s is asked[0] or s.when(config, split)]
        metrics = {key: value for result in results for key, value in result.metrics.items()}
        folder = results[-1].folder
        show_metrics(metrics, {shown: str(folder / file) for shown, file in files.items()}, json_=json_)
