"""fit(): trains one model and yields a record per epoch. Knows no stores, trackers or trials.

A `Training` is everything the next step depends on: weights, optimizer, generator, epoch. Saving it after an epoch and
loading it later gives, on a CPU, the same bits as never having stopped.
"""

import math
import time
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from pipeline.config.digests import derive_seed
from pipeline.config.sections import ModelConfig, TrainConfig
from pipeline.data.splits import PreparedData
from pipeline.errors import DataError, DivergedError
from pipeline.models.architecture import Architecture
from pipeline.models.building import built
from pipeline.models.gradients import gradients_of
from pipeline.models.losses import warmed_beta
from pipeline.training.adam import Adam
from pipeline.training.schedule import learning_rate
from pipeline.training.state import EpochRecord, Training
from pipeline.training.validation import elbo_per_image


def build_model(config: ModelConfig, data: PreparedData, seed: int) -> Architecture:
    """The model with its initial weights, which depend on the seed alone; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shape = data.pixels // (data.height * data.width), data.height, data.width
        return built(config, shape=shape, classes=data.classes)


def check_batch_size(config: TrainConfig, data: PreparedData) -> None:
    """DataError if a batch is larger than the training split."""
    if config.batch_size > len(data.train):
        raise DataError(
            f"train.batch_size is {config.batch_size}, but {data.name} has {len(data.train)} training images; "
            f"choose --batch-size {len(data.train)} or less"
        )


def start(model_config: ModelConfig, config: TrainConfig, data: PreparedData, device: torch.device) -> Training:
    """A training at epoch 0."""
    check_batch_size(config, data)
    model = build_model(model_config, data, derive_seed("weights", config.seed)).to(device)
    optimizer = Adam.start([p.detach() for p in model.parameters()])
    generator = torch.Generator(device).manual_seed(derive_seed("steps", config.seed))
    return Training(model, optimizer, generator)


@torch.no_grad()
def fit(training: Training, data: PreparedData, config: TrainConfig) -> Iterator[EpochRecord]:
    """Train from `training.epoch` to `config.epochs`, one record per epoch; DivergedError at nan or infinity."""
    gradients_of_batch = gradients_of(training.model, free_bits=config.free_bits)
    parameters = list(training.model.parameters())
    labels = one_hot(data.train.labels, data.classes).float()  # (N, C)
    steps_per_epoch = math.ceil(len(data.train) / config.batch_size)
    for epoch in range(training.epoch + 1, config.epochs + 1):
        started = time.perf_counter()
        step = (epoch - 1) * steps_per_epoch
        sums = EpochSums(training.generator.device)
        order, noise = epoch_draws(training, len(data.train))
        for index, eps in zip(order.split(config.batch_size), noise.split(config.batch_size), strict=True):
            beta = warmed_beta(
                config.beta, step=step, steps_per_epoch=steps_per_epoch, warmup_epochs=config.warmup_epochs
            )
            rate = learning_rate(config, step=step, steps=config.epochs * steps_per_epoch)
            x, c = data.train.as_float(index), labels.index_select(0, index)
            gradients, bce, kl = gradients_of_batch(x, c, eps, beta)  # bce, kl: (B,)
            training.optimizer.step(parameters, gradients, rate)
            sums.add(bce, kl, beta)
            step += 1
        train = sums.means(len(data.train))
        seconds = time.perf_counter() - started
        yield end_epoch(
            training, data, config, train=train, beta=beta, rate=rate, images_per_second=len(data.train) / seconds
        )


def epoch_draws(training: Training, images: int) -> tuple[Int[Tensor, " N"], Float[Tensor, "N Z"]]:
    """The order and the noise of one epoch, drawn at once, so that a population can draw the same for each member."""
    generator = training.generator
    order = torch.randperm(images, generator=generator, device=generator.device)
    return order, torch.randn(images, training.model.latent_dim, generator=generator, device=generator.device)


class EpochSums:
    """Loss, bce and kl summed over the images of an epoch, on the device: nothing waits for them before its end."""

    def __init__(self, device: torch.device, shape: tuple[int, ...] = ()) -> None:
        self._sums = torch.zeros(3, *shape, dtype=torch.float64, device=device)  # loss, bce, kl

    def clear(self) -> None:
        """Begin anew, in the same tensor."""
        self._sums.zero_()

    def add(self, bce: Float[Tensor, "*K B"], kl: Float[Tensor, "*K B"], beta: float | Float[Tensor, " *K"]) -> None:
        """One batch, under the beta of its step."""
        bce_sum, kl_sum = bce.sum(-1), kl.sum(-1)
        self._sums += torch.stack([bce_sum + beta * kl_sum, bce_sum, kl_sum])

    def means(self, images: int) -> dict[str, Float[Tensor, "*K"]]:
        """Nats per image."""
        return dict(zip(("loss", "bce", "kl"), self._sums.cpu() / images, strict=True))


def end_epoch(
    training: Training,
    data: PreparedData,
    config: TrainConfig,
    *,
    train: dict[str, Tensor],
    beta: float,
    rate: float,
    images_per_second: float,
) -> EpochRecord:
    """Validate after an epoch, and take its record into the history; DivergedError at nan or infinity. beta and rate
    are those of its last step."""
    epoch, model = training.epoch + 1, training.model
    train_loss = float(train["loss"])
    if not math.isfinite(train_loss):
        raise _diverged(f"loss is {train_loss} at epoch {epoch}", config)
    val = elbo_per_image(model, data.val, seed=derive_seed("val noise"))
    val_bce, val_kl = val.bce.double().mean().item(), val.kl.double().mean().item()
    record = EpochRecord(
        epoch,
        {
            **_means("train", model, float(train["bce"]), float(train["kl"]), train_loss),
            **_means("val", model, val_bce, val_kl, val_bce + config.beta * val_kl),
            "train/beta": beta,
            "train/learning_rate": rate,
            "train/images_per_second": images_per_second,
        },
    )
    if not all(math.isfinite(v) for v in record.metrics.values()):
        raise _diverged(f"validation loss is not finite at epoch {epoch}", config)
    training.epoch = epoch
    training.history.append(record)
    return record


def _diverged(what: str, config: TrainConfig) -> DivergedError:
    return DivergedError(
        f"{what} (learning_rate={config.learning_rate:g}, beta={config.beta:g}); "
        f"try --lr {min(1e-3, config.learning_rate / 10):g}"
    )


def _means(split: str, model: Architecture, bce: float, kl: float, loss: float) -> dict[str, float]:
    distortion = "bce" if model.likelihood.name == "bernoulli" else "distortion"
    if not model.stochastic:
        return {f"{split}/loss": bce, f"{split}/{distortion}": bce}
    return {f"{split}/loss": loss, f"{split}/{distortion}": bce, f"{split}/kl": kl, f"{split}/neg_elbo": bce + kl}
