"""The daily settings as one table: what every command offers as flags, and what a report's commands are made of."""

import shlex
from dataclasses import dataclass

from pipeline.config.reading import FOUND, PRESETS, usual_config
from pipeline.config.sections import ARCHITECTURES, DATASETS, DEVICES, LIKELIHOODS, MODELS, PRIORS, SCHEDULES
from pipeline.config.settings import RunConfig

DATA, MODEL, TRAINING, OTHER = "Data", "Model", "Training", "Everything else"
"""Panels of --help."""


@dataclass(frozen=True)
class Flag:
    """A setting that people change daily, and its own option."""

    option: str
    setting: str
    """section.key."""
    kind: type
    """What the option is read as; the setting's own type does the checking."""
    panel: str
    help: str

    @property
    def default(self) -> str:
        """As --help shows it, with the data sets that have another."""
        usual = as_word(RunConfig().flat()[self.setting])
        own = {name: preset[self.setting] for name, preset in PRESETS.items() if self.setting in preset}
        others = [f"{name} {as_word(value)}" for name, value in own.items()]
        return "; ".join([usual, *others])


DAILY = (
    Flag(
        "--dataset",
        "data.dataset",
        str,
        DATA,
        f"Data set: {', '.join(DATASETS)}; or your own images: a folder with a sub-folder per class, or an .npz file.",
    ),
    Flag("--model", "model.kind", str, MODEL, f"Model: {', '.join(MODELS)}."),
    Flag("--arch", "model.arch", str, MODEL, f"Architecture: {', '.join(ARCHITECTURES)}."),
    Flag("--beta", "train.beta", float, TRAINING, "Weight of the KL term."),
    Flag("--latent-dim", "model.latent_dim", int, MODEL, "Number of latent dimensions."),
    Flag("--hidden", "model.hidden", str, MODEL, "Encoder widths, e.g. 512,256."),
    Flag("--likelihood", "model.likelihood", str, MODEL, f"Of pixels: {', '.join(LIKELIHOODS)}."),
    Flag("--lr", "train.learning_rate", float, TRAINING, "Adam's learning rate, or its peak."),
    Flag("--schedule", "train.schedule", str, TRAINING, f"Of the learning rate: {', '.join(SCHEDULES)}."),
    Flag("--epochs", "train.epochs", int, TRAINING, "Passes over the training images."),
    Flag("--batch-size", "train.batch_size", int, TRAINING, "Images per step."),
    Flag("--seed", "train.seed", int, TRAINING, "Seed of weights, batch order and z."),
    Flag(
        "--prior",
        "sampling.prior",
        str,
        MODEL,
        f"What z is drawn from: {', '.join(PRIORS)}. All but the first are fitted after training, and every score is "
        "given under both.",
    ),
    Flag("--device", "runtime.device", str, OTHER, f"{', '.join(DEVICES)}."),
)
OPTIONS = {flag.setting: flag.option for flag in DAILY}


def flags(config: RunConfig, *, leave_out: frozenset[str] = frozenset()) -> str:
    """The command-line options that give this configuration: whatever differs from the defaults of its data set."""
    defaults = usual_config(config).flat()
    words = []
    for name, value in config.flat().items():
        if name in leave_out or (value == defaults[name] and name != "data.dataset") or name in FOUND:
            continue
        word = shlex.quote(as_word(value))
        words.append(f"{OPTIONS[name]} {word}" if name in OPTIONS else f"--set {name}={word}")
    return " ".join(words)


def as_word(value: object) -> str:
    """A setting's value as it is typed."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
