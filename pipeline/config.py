"""Settings of a run: frozen sections, one per stage; defaults < data set preset < TOML < flags and --set.

Knows names, ranges and digests. Does not know torch, stages or paths; reads nothing but the TOML file it is given.
A section is a cache-key unit: a stage's key is the digest of the sections it reads and the keys it builds on.
"""

import dataclasses
import hashlib
import json
import math
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError

DATASETS = ("mnist", "fashion-mnist", "kmnist", "emnist-balanced", "qmnist", "usps", "digits")
MODELS = ("ae", "vae", "cvae")
PRIORS = ("standard", "gaussian", "mixture")
DEVICES = ("auto", "cpu", "cuda")

PRESETS: dict[str, dict[str, Any]] = {
    # 1,797 images: keep enough of them in val and test for per-class statistics, and let the judges see more epochs.
    # The gates are what a judge reaches on so few 8 x 8 images, not what one would wish for.
    "digits": {
        "data.val_fraction": 0.25,
        "train.epochs": 60,
        "judge.epochs": 40,
        "judge.mlp_epochs": 60,
        "judge.batch_size": 64,
        "gates.enforce": False,
    },
}
"""Per data set, the settings whose defaults differ from the MNIST ones."""


def require(ok: bool, name: str, value: object, allowed: str, *, hint: str = "") -> None:
    """Raise ConfigError naming the setting, its value and what is allowed, unless `ok`."""
    if not ok:
        raise ConfigError(f"{name} is {value!r}; it must be {allowed}{'; ' + hint if hint else ''}")


def _finite(value: float) -> bool:
    return math.isfinite(value)


def _require_seed(seed: int, name: str) -> None:
    require(0 <= seed < 2**63 - 1, name, seed, "0 or more, below 2**63 - 1")  # judge B adds one


@dataclass(frozen=True)
class DataConfig:
    """Which images, and how they are split. Read by `prepare`."""

    dataset: str = "mnist"
    """Name of the data set; `digits` ships with scikit-learn, the others are torchvision's."""
    val_fraction: float = 1 / 12
    """Share of the official training images held out for validation, stratified; 1/12 is 5,000 of MNIST's 60,000."""
    train_limit: int = 0
    """Keep only this many training images (train and val together), stratified; 0 keeps all."""
    test_limit: int = 0
    """Keep only this many test images, stratified; 0 keeps all."""
    split_seed: int = 0
    """Seed of the split. Kept apart from the training seed, so that runs over seeds share one split."""

    def __post_init__(self) -> None:
        require(self.dataset in DATASETS, "data.dataset", self.dataset, f"one of {', '.join(DATASETS)}")
        require(0 < self.val_fraction <= 0.5, "data.val_fraction", self.val_fraction, "above 0 and at most 0.5")
        require(self.train_limit >= 0, "data.train_limit", self.train_limit, "0 (all) or a number of images")
        _require_seed(self.split_seed, "data.split_seed")
        require(self.test_limit >= 0, "data.test_limit", self.test_limit, "0 (all) or a number of images")


@dataclass(frozen=True)
class ModelConfig:
    """The autoencoder. Read by `train`."""

    kind: str = "cvae"
    """ae: deterministic autoencoder; vae: Kingma & Welling 2014; cvae: label-conditional (Sohn et al. 2015)."""
    latent_dim: int = 20
    """Number of latent dimensions Z; 2 makes the latent map a picture."""
    hidden: tuple[int, ...] = (400,)
    """Widths of the encoder's hidden layers, input side first; the decoder mirrors them."""
    condition_encoder: bool = True
    """Whether a cvae's encoder sees the label too: q(z|x,c) rather than q(z|x)."""

    def __post_init__(self) -> None:
        require(self.kind in MODELS, "model.kind", self.kind, f"one of {', '.join(MODELS)}")
        require(self.latent_dim >= 1, "model.latent_dim", self.latent_dim, "1 or more")
        require(
            len(self.hidden) >= 1 and all(w >= 1 for w in self.hidden),
            "model.hidden",
            list(self.hidden),
            "one or more widths of 1 or more, e.g. 400 or 512,256",
        )


@dataclass(frozen=True)
class TrainConfig:
    """One training. Read by `train`."""

    beta: float = 1.0
    """Weight of the KL term (Higgins et al. 2017, eq. 4). 1 gives the ELBO."""
    warmup_epochs: float = 0.0
    """Epochs over which beta rises linearly from 0 (Bowman et al. 2016); 0 switches warm-up off."""
    learning_rate: float = 1e-3
    """Adam's step size (Kingma & Ba 2015)."""
    batch_size: int = 64
    """Images per step."""
    epochs: int = 20
    """Passes over the training images."""
    seed: int = 0
    """Seed of the initial weights, the batch order and the sampled z of this training."""

    def __post_init__(self) -> None:
        require(
            _finite(self.beta) and self.beta >= 0,
            "train.beta",
            self.beta,
            "a finite number, 0 or more",
            hint="1 gives the ELBO",
        )
        require(
            _finite(self.warmup_epochs) and self.warmup_epochs >= 0,
            "train.warmup_epochs",
            self.warmup_epochs,
            "0 or more",
        )
        require(
            _finite(self.learning_rate) and self.learning_rate > 0,
            "train.learning_rate",
            self.learning_rate,
            "a finite number above 0",
            hint="try 1e-3",
        )
        require(self.batch_size >= 1, "train.batch_size", self.batch_size, "1 or more")
        require(self.epochs >= 1, "train.epochs", self.epochs, "1 or more")
        _require_seed(self.seed, "train.seed")


@dataclass(frozen=True)
class JudgeConfig:
    """The two evaluation classifiers. Read by `judge`."""

    epochs: int = 5
    """Training epochs of judge A, the CNN that drives every score."""
    mlp_epochs: int = 12
    """Training epochs of judge B, the MLP classifier held out for reports."""
    batch_size: int = 256
    """Images per step."""
    learning_rate: float = 1e-2
    """Peak rate of the OneCycle schedule of judge A."""
    mlp_learning_rate: float = 5e-3
    """Peak rate of the OneCycle schedule of judge B."""
    seed: int = 0
    """Seed of both judges; B adds one to it."""

    def __post_init__(self) -> None:
        for name in ("epochs", "mlp_epochs"):
            require(getattr(self, name) >= 1, f"judge.{name}", getattr(self, name), "1 or more")
        require(self.batch_size >= 2, "judge.batch_size", self.batch_size, "2 or more: batch norm needs two images")
        _require_seed(self.seed, "judge.seed")
        for name in ("learning_rate", "mlp_learning_rate"):
            value = getattr(self, name)
            require(_finite(value) and value > 0, f"judge.{name}", value, "a finite number above 0")


@dataclass(frozen=True)
class GateConfig:
    """What a judge must reach on real test images before it may be used. Checked at use, never part of a cache key:
    another bound does not retrain a judge."""

    clean: float = 0.994
    """Least accuracy of judge A on clean images."""
    blur_1: float = 0.992
    """Least accuracy of judge A on images blurred with sigma 1 pixel (at 28 x 28)."""
    blur_1_5: float = 0.988
    """The same at sigma 1.5."""
    blur_2: float = 0.980
    """The same at sigma 2."""
    ece: float = 0.01
    """Largest expected calibration error of judge A on clean images."""
    mlp_clean: float = 0.985
    """Least accuracy of judge B on clean images."""
    mlp_blur_1_5: float = 0.97
    """Least accuracy of judge B at sigma 1.5."""
    enforce: bool = True
    """Whether a judge below its gate is refused. Off for data sets too small to reach the gates, which flag it."""

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            require(isinstance(value, bool) or 0 <= value <= 1, f"gates.{f.name}", value, "a rate between 0 and 1")


@dataclass(frozen=True)
class EvaluateConfig:
    """The likelihood numbers. Read by `evaluate`."""

    draws: int = 5
    """Samples z per image for bce and neg_elbo."""
    seed: int = 0
    """Seed of the evaluation noise, the same for every model, so that two runs are compared as pairs."""

    def __post_init__(self) -> None:
        require(self.draws >= 1, "evaluate.draws", self.draws, "1 or more")
        _require_seed(self.seed, "evaluate.seed")


@dataclass(frozen=True)
class ScoreConfig:
    """The sample scores. Read by `score`."""

    per_class: int = 1000
    """Generated images per class."""
    neighbours: int = 5
    """k of the k-nearest-neighbour balls of coverage (Naeem et al. 2020)."""
    seed: int = 0
    """Seed of the sampled z and of the reference images, the same for every model."""

    def __post_init__(self) -> None:
        require(self.per_class >= 2, "score.per_class", self.per_class, "2 or more")
        require(self.neighbours >= 1, "score.neighbours", self.neighbours, "1 or more")
        _require_seed(self.seed, "score.seed")


@dataclass(frozen=True)
class SamplingConfig:
    """The prior that generated images are drawn from. Read by `expost`, which scores a second time under it."""

    prior: str = "standard"
    """standard: N(0, I) alone. gaussian, mixture: scores under a density per class as well, fitted after training on
    sampled codes of the training images."""
    components: int = 10
    """Gaussians per class of a mixture."""
    codes_per_class: int = 2500
    """Training images per class, at most, whose codes the density is fitted on."""
    seed: int = 0
    """Seed of the codes and of the fit."""

    def __post_init__(self) -> None:
        require(self.prior in PRIORS, "sampling.prior", self.prior, f"one of {', '.join(PRIORS)}")
        require(self.components >= 1, "sampling.components", self.components, "1 or more")
        require(self.codes_per_class >= 2, "sampling.codes_per_class", self.codes_per_class, "2 or more")
        require(0 <= self.seed < 2**32, "sampling.seed", self.seed, "0 or more, below 2**32")


@dataclass(frozen=True)
class AuditConfig:
    """The secondary suite for models that are reported. Read by `audit`."""

    enabled: bool = False
    """Whether a run that is opened on test has it too: minutes, against the seconds of `score`."""
    iwae_draws: int = 5000
    """K of the importance-weighted bound (Burda et al. 2016)."""
    iwae_images: int = 2000
    """Stratified images the bound is averaged over."""
    cas_images: int = 10_000
    """Generated images that the classifier of the classification accuracy score is trained on."""
    cas_steps: int = 300
    """Its training steps, of 128 images each."""

    def __post_init__(self) -> None:
        for name in ("iwae_draws", "iwae_images", "cas_images", "cas_steps"):
            require(getattr(self, name) >= 1, f"audit.{name}", getattr(self, name), "1 or more")


@dataclass(frozen=True)
class RuntimeConfig:
    """How things run, never what they compute: outside every digest."""

    device: str = "auto"
    """Where tensors live: cpu, cuda, or auto (cuda if there is one)."""
    threads: int = 1
    """CPU threads per process. 1 by default: the same numbers for any number of workers."""
    grid_every: int = 5
    """Epochs between two logged grids of generated images; the last epoch always has one."""

    def __post_init__(self) -> None:
        require(self.device in DEVICES, "runtime.device", self.device, f"one of {', '.join(DEVICES)}")
        require(self.threads >= 1, "runtime.threads", self.threads, "1 or more")
        require(self.grid_every >= 1, "runtime.grid_every", self.grid_every, "1 or more")


@dataclass(frozen=True)
class RunConfig:
    """Everything one run depends on."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    gates: GateConfig = field(default_factory=GateConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    def flat(self) -> dict[str, Any]:
        """Every setting as {"section.key": value}; tuples become lists."""
        return {
            f"{section.name}.{key}": list(value) if isinstance(value, tuple) else value
            for section in dataclasses.fields(self)
            for key, value in dataclasses.asdict(getattr(self, section.name)).items()
        }

    def with_settings(self, settings: Mapping[str, Any]) -> "RunConfig":
        """A copy with {"section.key": value} replaced and checked."""
        config = self
        for name, value in settings.items():
            section, key = _split_name(name)
            parsed = _typed(name, value)
            part = dataclasses.replace(getattr(config, section), **{key: parsed})
            config = dataclasses.replace(config, **{section: part})
        return config

    def to_toml(self) -> str:
        """The whole configuration as TOML that `--config` reads back to an equal one."""
        tables: dict[str, dict[str, Any]] = {}
        for name, value in self.flat().items():
            section, key = name.split(".")
            tables.setdefault(section, {})[key] = value
        import tomli_w  # here: reading settings does not need it, and a bare machine may not have it

        return tomli_w.dumps(tables)


SECTIONS: dict[str, type] = {f.name: typing.get_type_hints(RunConfig)[f.name] for f in dataclasses.fields(RunConfig)}


def setting_type(name: str) -> Any:
    """The Python type of a setting, e.g. float for "train.beta"; ConfigError if there is none of that name."""
    section, key = _split_name(name)
    return typing.get_type_hints(SECTIONS[section])[key]


def _split_name(name: str) -> tuple[str, str]:
    section, _, key = name.partition(".")
    if section not in SECTIONS or not key:
        raise ConfigError(f"unknown setting {name}; settings are section.key with section one of {', '.join(SECTIONS)}")
    keys = [f.name for f in dataclasses.fields(SECTIONS[section])]
    if key not in keys:
        raise ConfigError(f"unknown setting {name}; {section} has {', '.join(keys)}")
    return section, key


def _typed(name: str, value: Any) -> Any:
    """`value` as the type of the setting; a string is read as a number, a TOML value, or the text itself."""
    kind = setting_type(name)
    if kind is str:
        if not isinstance(value, str):
            raise ConfigError(f"{name} is {value!r}; it must be text")
        return value
    if isinstance(value, str):
        text = value.strip()
        if kind == tuple[int, ...] and not text.startswith("["):
            text = f"[{text}]"
        try:
            # .5 and 5. are numbers to everybody but TOML
            value = kind(text) if kind in (int, float) else tomllib.loads(f"value = {text}")["value"]
        except ValueError:  # a TOMLDecodeError too
            raise ConfigError(f"{name} is {value!r}; it must be {_describe(kind)}") from None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, types.GenericAlias):
        widths = value if isinstance(value, (list, tuple)) else [value]
        if all(isinstance(w, int) and not isinstance(w, bool) for w in widths):
            return tuple(widths)
    elif isinstance(value, kind) and not (kind is not bool and isinstance(value, bool)):
        return value
    raise ConfigError(f"{name} is {value!r}; it must be {_describe(kind)}")


def _describe(kind: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false"}
    return names.get(kind, "a list of whole numbers, e.g. 512,256")


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; ConfigError if it is missing or is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no configuration file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration file {path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def build_config(
    tables: Mapping[str, Any] | None = None,
    *,
    sets: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
    other_tables: Iterable[str] = ("space",),
) -> RunConfig:
    """One RunConfig from defaults < data set preset < TOML tables < flags < --set entries ("section.key=value").

    `flags` maps setting names to values, None meaning "not given". Tables named in `other_tables` belong to
    somebody else (a sweep's search space) and are passed over.
    """
    settings: dict[str, Any] = {}
    for section, table in (tables or {}).items():
        if section in other_tables:
            continue
        if section not in SECTIONS:
            raise ConfigError(f"unknown table [{section}]; tables are {', '.join([*SECTIONS, *other_tables])}")
        if not isinstance(table, Mapping):
            raise ConfigError(f"{section} is {table!r}; it must be a table: [{section}]")
        settings |= {f"{section}.{key}": value for key, value in table.items()}
    settings |= {name: value for name, value in (flags or {}).items() if value is not None}
    for entry in sets:
        name, equals, value = entry.partition("=")
        if not equals:
            raise ConfigError(f"--set {entry} has no value; write --set section.key=value, e.g. --set train.beta=4")
        settings[name.strip()] = value
    dataset = RunConfig().with_settings({"data.dataset": settings.get("data.dataset", DataConfig.dataset)}).data.dataset
    return RunConfig().with_settings({**PRESETS.get(dataset, {}), **settings})


def digest(*parts: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of `parts`; dataclasses count as {field: value}."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return dataclasses.asdict(value)
        raise TypeError(f"{value!r} has no canonical form")

    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=plain, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def derive_seed(*parts: Any) -> int:
    """A seed in [0, 2**31) that depends on every part, for use where one seed must become several."""
    return int(digest("seed", *parts)[:8], 16) >> 1
