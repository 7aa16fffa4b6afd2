"""The daily settings as one table: what every command offers as flags, and what a report's commands are made of."""

from pipeline.config.reading import PRESETS
from pipeline.config.settings import RunConfig

FLAGS = {
    "data.dataset": "--dataset",
    "model.kind": "--model",
    "train.beta": "--beta",
    "model.latent_dim": "--latent-dim",
    "model.hidden": "--hidden",
    "train.learning_rate": "--lr",
    "train.epochs": "--epochs",
    "train.batch_size": "--batch-size",
    "train.seed": "--seed",
    "sampling.prior": "--prior",
    "runtime.device": "--device",
}
"""The settings that have a flag of their own."""


def flags(config: RunConfig, *, leave_out: frozenset[str] = frozenset()) -> str:
    """The command-line options that give this configuration: whatever differs from the defaults of its data set."""
    defaults = RunConfig().with_settings(PRESETS.get(config.data.dataset, {})).flat()
    words = []
    for name, value in config.flat().items():
        if name in leave_out or (value == defaults[name] and name != "data.dataset"):
            continue
        text = (
            ",".join(map(str, value))
            if isinstance(value, list)
            else str(value).lower()
            if isinstance(value, bool)
            else str(value)
        )
        words.append(f"{FLAGS[name]} {text}" if name in FLAGS else f"--set {name}={text}")
    return " ".join(words)
