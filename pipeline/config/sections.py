"""The sections of a configuration: frozen, one per stage, each setting with its meaning, unit and range.

A section is a unit of the cache key: a stage's key is the digest of the sections it reads and the keys it builds on.
"""

import dataclasses
from dataclasses import dataclass

from pipeline.config.values import added, finite, require, require_seed

DATASETS = ("mnist", "fashion-mnist", "kmnist", "emnist-balanced", "qmnist", "usps", "digits")

MODELS = ("ae", "vae", "cvae")

ARCHITECTURES = ("mlp", "conv")

LIKELIHOODS = ("bernoulli", "continuous_bernoulli", "gaussian")

PRIORS = ("standard", "gaussian", "mixture")

SCHEDULES = ("constant", "cosine")

DEVICES = ("auto", "cpu", "cuda")

FITS = ("crop", "pad")

CHANNELS = ("auto", "1", "3")

OWN_IMAGES = "own images"
"""What stands for the path to images of one's own where only their content counts."""

LARGEST_SIDE = 1024
"""Pixels of a side that images may have."""

NAME_LENGTH = 40
"""Characters of a path's end that are a data set's name, at most."""

JUDGES = 3
"""Seeds of the judges that read the choice of a sweep, and every model of an ablation."""
MOST_JUDGES = 5
"""In a panel, with the one that a search uses."""


NOISE_LEVELS = (10, 20, 30, 50)
"""Of the recipe `denoise`, in per cent: a little grain to hardly legible."""
MOST_NOISE = 100


def is_path(dataset: str) -> bool:
    """Whether this can only be a path to images of one's own."""
    return "/" in dataset or "\\" in dataset or dataset.lower().endswith(".npz")


def image_size(text: str) -> tuple[int, int] | tuple[()] | None:
    """(height, width) of a `data.size`; () for auto, None for what is neither."""
    if text == "auto":
        return ()
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(
        side.isascii() and side.isdigit() and 1 <= int(side) <= LARGEST_SIDE for side in sides
    ):
        return None
    return int(sides[0]), int(sides[-1])


@dataclass(frozen=True)
class DataConfig:
    """Which images, and how they are split. Read by `prepare`."""

    dataset: str = "mnist"
    """Name of the data set; `digits` ships with scikit-learn, the others are torchvision's. Or the path to images of
    one's own: a folder with a sub-folder per class, or an .npz file."""
    val_fraction: float = 1 / 12
    """Share of the official training images held out for validation, stratified; 1/12 is 5,000 of MNIST's 60,000."""
    train_limit: int = 0
    """Keep only this many training images (train and val together), stratified; 0 keeps all."""
    test_limit: int = 0
    """Keep only this many test images, stratified; 0 keeps all."""
    split_seed: int = 0
    """Seed of the split. Kept apart from the training seed, so that runs over seeds share one split."""
    size: str = added("auto", before="auto")
    """Pixels that one's own images are brought to: one number, or HEIGHTxWIDTH; auto: as they are, all of one size."""
    fit: str = added("crop", before="crop")
    """How, where the shape differs: crop: scaled to cover the size, the rest cut off on both sides; pad: scaled to fit
    into it, the rest filled with the colour of their border."""
    channels: str = added("auto", before="auto")
    """Of one's own images: 1 is grey, 3 is colour; auto: grey if every image is."""
    skip_broken: bool = added(False, before=False)
    """Whether files of one's own that cannot be decoded are left out and counted; otherwise the first one stops."""
    content: str = added("", before="")
    """SHA-256 of one's own images, labels and class names, found by looking: it stands for them, whatever the path."""
    images: int = added(0, before=0)
    """How many images of one's own there are to train and validate on, found by looking: it sets the defaults."""

    @property
    def own(self) -> bool:
        """Whether these are somebody's own images, not a published data set."""
        return self.dataset not in DATASETS

    @property
    def name(self) -> str:
        """What people call the data set: its name, or the end of the path to one's own."""
        if not self.own:
            return self.dataset
        end = self.dataset.replace("\\", "/").rstrip("/").rpartition("/")[2]
        return end.removesuffix(".npz")[:NAME_LENGTH] or "images"

    @property
    def anywhere(self) -> "DataConfig":
        """The same without the path to one's own images, which are what they are wherever they lie. What keys are made
        of, and what is compared where it is asked whether two configurations are of the same images."""
        return dataclasses.replace(self, dataset=OWN_IMAGES) if self.own and self.content else self

    def same_images(self, other: "DataConfig") -> bool:
        """Whether they are of one data set, however each splits it."""
        own, theirs = self.anywhere, other.anywhere
        return (own.dataset, own.content) == (theirs.dataset, theirs.content)

    def __post_init__(self) -> None:
        require(
            not self.own or bool(self.content) or is_path(self.dataset),
            "data.dataset",
            self.dataset,
            f"one of {', '.join(DATASETS)}, or the path to a folder of images or an .npz file",
        )
        require(
            image_size(self.size) is not None,
            "data.size",
            self.size,
            f"auto, one number, or HEIGHTxWIDTH, of 1 to {LARGEST_SIDE}",
        )
        require(self.fit in FITS, "data.fit", self.fit, f"one of {', '.join(FITS)}")
        require(self.channels in CHANNELS, "data.channels", self.channels, f"one of {', '.join(CHANNELS)}")
        hashed = set(self.content) <= set("0123456789abcdef")
        require(hashed, "data.content", self.content, "hex digits of a SHA-256, or nothing")
        require(self.images >= 0, "data.images", self.images, "0 or a number of images")
        if not self.own:
            self._refuse_what_is_of_own_images()
        require(0 < self.val_fraction <= 0.5, "data.val_fraction", self.val_fraction, "above 0 and at most 0.5")
        require(self.train_limit >= 0, "data.train_limit", self.train_limit, "0 (all) or a number of images")
        require_seed(self.split_seed, "data.split_seed")
        require(self.test_limit >= 0, "data.test_limit", self.test_limit, "0 (all) or a number of images")

    def _refuse_what_is_of_own_images(self) -> None:
        """ConfigError for a setting that says how somebody's own images are read."""
        for key, usual in (("size", "auto"), ("fit", "crop"), ("channels", "auto"), ("skip_broken", False)):
            value, only = getattr(self, key), str(usual).lower()
            require(value == usual, f"data.{key}", value, f"{only} for {self.dataset}: it is for images of your own")


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
    arch: str = added("mlp", before="mlp")
    """mlp: multilayer perceptrons of the flat image; conv: convolutions before the encoder's hidden layers, transposed
    ones after the decoder's: 8 nats better on MNIST in as many epochs, at some twenty times the seconds of one."""
    conv_channels: tuple[int, ...] = added((), before=())
    """Channels of the convolutions of a conv model, image side first, each halving the image; the decoder mirrors them.
    Empty: as many as bring the image to 8 x 8 or less, of 32, 64, 128, 128, .. channels; 28 x 28 has 32,64."""
    likelihood: str = added("bernoulli", before="bernoulli")
    """p(x|z,c). bernoulli: a cross-entropy where pixels are grey, no density of theirs; continuous_bernoulli: a density
    on [0, 1] (Loaiza-Ganem & Cunningham 2019); gaussian: a density with one learned sigma, e.g. for colour. Their nats
    are of different quantities, never compared."""
    learned_prior: bool = added(False, before=False)
    """Whether a cvae learns a Gaussian p(z|c) of each class with its weights (Sohn et al. 2015); otherwise N(0, I). z
    is then measured from its mean in its deviations, so that in these coordinates the prior is N(0, I) again."""

    def __post_init__(self) -> None:
        require(self.kind in MODELS, "model.kind", self.kind, f"one of {', '.join(MODELS)}")
        require(self.arch in ARCHITECTURES, "model.arch", self.arch, f"one of {', '.join(ARCHITECTURES)}")
        require(
            all(c >= 1 for c in self.conv_channels),
            "model.conv_channels",
            list(self.conv_channels),
            "numbers of channels of 1 or more, e.g. 32,64, or none",
        )
        require(self.likelihood in LIKELIHOODS, "model.likelihood", self.likelihood, f"one of {', '.join(LIKELIHOODS)}")
        require(self.latent_dim >= 1, "model.latent_dim", self.latent_dim, "1 or more")
        require(
            len(self.hidden) >= 1 and all(w >= 1 for w in self.hidden),
            "model.hidden",
            list(self.hidden),
            "one or more widths of 1 or more, e.g. 400 or 512,256",
        )

    @property
    def title(self) -> str:
        """What people call it: cvae, conv cvae, conv gaussian cvae."""
        arch = "" if self.arch == "mlp" else self.arch
        likelihood = "" if self.likelihood == "bernoulli" else self.likelihood.replace("_", "-")
        return " ".join(word for word in (arch, likelihood, self.kind) if word)


@dataclass(frozen=True)
class TrainConfig:
    """One training. Read by `train`."""

    beta: float = 1.0
    """Weight of the KL term (Higgins et al. 2017, eq. 4). 1 gives the ELBO."""
    warmup_epochs: float = 0.0
    """Epochs over which beta rises linearly from 0 (Bowman et al. 2016); 0 switches warm-up off."""
    free_bits: float = added(0.0, before=0.0)
    """Nats that each latent dimension has for nothing: the mean of its kl over a batch is not pushed below them, so
    that fewer are switched off (Kingma et al. 2016, eq. 15; .05 to .25 are usual). The kl that is shown is whole."""
    learning_rate: float = 3e-3
    """Adam's step size (Kingma & Ba 2015): of every step, or the peak of a schedule that has one. A constant rate wants
    a third of it: 1e-3."""
    schedule: str = added("cosine", before="constant")
    """cosine: a short linear rise to the learning rate, then half a cosine to 0 over the epochs of this training
    (Loshchilov & Hutter 2017); 2 nats better on MNIST than a constant rate in the same epochs. constant: one rate."""
    batch_size: int = 64
    """Images per step."""
    epochs: int = 20
    """Passes over the training images."""
    seed: int = 0
    """Seed of the initial weights, the batch order and the sampled z of this training."""

    def __post_init__(self) -> None:
        require(
            finite(self.beta) and self.beta >= 0,
            "train.beta",
            self.beta,
            "a finite number, 0 or more",
            hint="1 gives the ELBO",
        )
        require(
            finite(self.warmup_epochs) and self.warmup_epochs >= 0,
            "train.warmup_epochs",
            self.warmup_epochs,
            "0 or more",
        )
        require(finite(self.free_bits) and self.free_bits >= 0, "train.free_bits", self.free_bits, "0 or more nats")
        require(
            finite(self.learning_rate) and self.learning_rate > 0,
            "train.learning_rate",
            self.learning_rate,
            "a finite number above 0",
            hint="try 1e-3",
        )
        require(self.schedule in SCHEDULES, "train.schedule", self.schedule, f"one of {', '.join(SCHEDULES)}")
        require(self.batch_size >= 1, "train.batch_size", self.batch_size, "1 or more")
        require(self.epochs >= 1, "train.epochs", self.epochs, "1 or more")
        require_seed(self.seed, "train.seed")


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
        require_seed(self.seed, "judge.seed")
        for name in ("learning_rate", "mlp_learning_rate"):
            value = getattr(self, name)
            require(finite(value) and value > 0, f"judge.{name}", value, "a finite number above 0")


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
    relative: bool = False
    """Whether a judge is held against its own ceiling, for images whose best accuracy nobody knows: on blurred images
    against as large a share of what it reads of clean ones as `blur_1` is of `clean`, and so on; on clean ones half way
    from chance to all. The mean images of classes then need not be readable. Of one's own images this is so."""

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
        require_seed(self.seed, "evaluate.seed")


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
        require_seed(self.seed, "score.seed")


@dataclass(frozen=True)
class SamplingConfig:
    """The prior that z is drawn from, and that the kl is against. Read by `prior`, which fits it after training."""

    prior: str = "mixture"
    """standard: N(0, I), which the model was trained against, and nothing else. gaussian, mixture: a density per class
    (of a vae: one), fitted on sampled codes of all training images; every score is given under both."""
    components: int = 10
    """Gaussians per class of a mixture, at most: how many of them are used, validation codes decide."""
    seed: int = 0
    """Seed of the codes and of the fit."""

    def __post_init__(self) -> None:
        require(self.prior in PRIORS, "sampling.prior", self.prior, f"one of {', '.join(PRIORS)}")
        require(self.components >= 1, "sampling.components", self.components, "1 or more")
        require(0 <= self.seed < 2**32, "sampling.seed", self.seed, "0 or more, below 2**32")


@dataclass(frozen=True)
class PanelConfig:
    """Judges beyond the one that a search uses. Read by `panel`."""

    judges: int = 1
    """Judges of how many seeds read a model that is opened on test; finals and ablations are read by three."""

    def __post_init__(self) -> None:
        require(1 <= self.judges <= MOST_JUDGES, "panel.judges", self.judges, f"1 to {MOST_JUDGES}")


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
class DenoiseConfig:
    """The recipe `denoise`: images made noisy, and what takes the noise out. Read by `denoise`."""

    level: int = 30
    """Standard deviation of the noise, in per cent of the range from black to white."""
    seed: int = 0
    """Seed of the noise, the same for every model."""

    def __post_init__(self) -> None:
        require(1 <= self.level <= MOST_NOISE, "denoise.level", self.level, f"1 to {MOST_NOISE} per cent, e.g. 30")
        require_seed(self.seed, "denoise.seed")


@dataclass(frozen=True)
class AnomaliesConfig:
    """The recipe `anomalies`: a model that has never seen a class, and how strange it finds it. Read by `anomalies`."""

    held_out: int = 0
    """Index of the class that is held out of training and validation."""

    def __post_init__(self) -> None:
        require(self.held_out >= 0, "anomalies.held_out", self.held_out, "the index of a class")


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
