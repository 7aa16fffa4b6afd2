"""K models trained in lock-step as one program on one device: the same losses and records as one by one. No stores.

A small model leaves a GPU idle between two launches; forty of them stacked cost about what one does.

    weights    stacked along a leading axis K; products are batched (`gradients`)
    latents    padded to the largest of the stack with zeros, which stay zeros: no kl, no gradient, no step
    settings   beta, warm-up, learning rate and its schedule per member; architecture, batch size and data are shared
    data       uint8 on the device; each member has an order and a noise of its own, as it would alone
    launches   on CUDA one step is captured as a graph and replayed, so that its launches are paid once

Members never meet in any sum, so a diverged one leaves the others alone; it is reported and leaves the stack.
"""

import math
import time
from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot

from pipeline.config.sections import ModelConfig, TrainConfig
from pipeline.data.splits import PreparedData
from pipeline.errors import ConfigError, DivergedError
from pipeline.models.architecture import Architecture
from pipeline.models.autoencoder import Autoencoder
from pipeline.models.gradients import Layers, elbo_gradients, written_out
from pipeline.models.losses import warmed_beta
from pipeline.training.adam import Adam
from pipeline.training.fit import EpochSums, check_batch_size, end_epoch, epoch_draws
from pipeline.training.schedule import learning_rate
from pipeline.training.state import EpochRecord, Training

MEMORY_SHARE = 0.6
"""Of the free memory, what a stack may take: the judges and the scoring need some, and a graph keeps its own pool."""
WARM_UP_STEPS = 3
"""Eager steps before the capture, which libraries need to set themselves up. They are steps of the training."""

Shape = tuple[object, ...]


def stack_shape(model: ModelConfig, config: TrainConfig) -> Shape:
    """What the members of one population must have in common; latent size, beta, rate, seed and epochs are free."""
    return model.kind, model.hidden, model.condition_encoder, config.batch_size, config.free_bits


def not_stacked(model: ModelConfig) -> str:
    """Why models of these settings are trained one by one, in a few words; "" of those that a population stacks."""
    if model.arch != "mlp":
        return f"arch {model.arch}"
    if model.likelihood != "bernoulli":
        return f"likelihood {model.likelihood}"
    return "learned_prior" if model.learned_prior and model.kind == "cvae" else ""


def stackable(model: Architecture) -> Autoencoder:
    """The same model, if its gradients are written out for stacks; ConfigError for any other."""
    if not (isinstance(model, Autoencoder) and written_out(model)):
        raise ConfigError(
            "a population stacks multilayer perceptrons with a Bernoulli decoder and no learned prior, and this is a "
            f"{type(model).__name__} with {model.likelihood.name}; use --executor local"
        )
    return model


def member_bytes(model: ModelConfig, config: TrainConfig, data: PreparedData) -> int:
    """Device memory that one member takes: four numbers per parameter, its activations, its order and noise."""
    widths = (data.pixels + data.classes, *model.hidden, 2 * model.latent_dim)
    parameters = 2 * sum(a * b for a, b in pairwise(widths))
    activations = config.batch_size * (8 * data.pixels + 6 * sum(model.hidden))
    return 4 * (8 * parameters + activations + len(data.train) * (model.latent_dim + 4))


def capacity(
    members: Iterable[tuple[ModelConfig, TrainConfig]], data: PreparedData, device: torch.device, most: int
) -> int:
    """How many members like the largest of these fit into the device's free memory: 1 .. `most`."""
    if device.type != "cuda":
        return most
    free, _ = torch.cuda.mem_get_info(device)
    largest = max(member_bytes(model, config, data) for model, config in members)
    return max(1, min(most, int(MEMORY_SHARE * free / largest)))


class Population:
    """Trainings that step together. Between two epochs each of them is what it would be alone: same weights, moments,
    generator and history, ready for `save_training`."""

    def __init__(self, trainings: Sequence[Training], configs: Sequence[TrainConfig], data: PreparedData) -> None:
        assert len({(stackable(t.model).kind, c.batch_size) for t, c in zip(trainings, configs, strict=True)}) == 1
        for config in configs:
            check_batch_size(config, data)
        self.trainings, self.configs, self.data = list(trainings), list(configs), data
        self.active = [i for i, t in enumerate(self.trainings) if t.epoch < self.configs[i].epochs]
        """Positions of the members that have an epoch left, in order."""
        self._stack: _Stack | None = None

    def leave(self, member: int) -> None:
        """Take a member out, say because a pruner stopped it; its training stays as it is."""
        self.active.remove(member)
        self._stack = None

    @torch.no_grad()
    def epoch(self) -> dict[int, EpochRecord | DivergedError]:
        """One epoch of every active member, by position: its record, or why it left. Those that are done leave too."""
        if self._stack is None:
            chosen = [(self.trainings[i], self.configs[i]) for i in self.active]
            self._stack = _Stack(chosen, self.data)
        stack, data = self._stack, self.data
        started = time.perf_counter()
        train = stack.run_epoch()
        seconds = time.perf_counter() - started
        stack.write_back()
        found: dict[int, EpochRecord | DivergedError] = {}
        for k, i in enumerate(list(self.active)):
            training, config = self.trainings[i], self.configs[i]
            try:
                found[i] = end_epoch(
                    training,
                    data,
                    config,
                    train={name: values[k] for name, values in train.items()},
                    beta=last_beta(config, training.epoch + 1, data),
                    rate=last_rate(config, training.epoch + 1, data),
                    images_per_second=len(data.train) / seconds,
                )
            except DivergedError as error:
                found[i] = error
            if isinstance(found[i], DivergedError) or training.epoch == config.epochs:
                self.leave(i)
        return found


def last_beta(config: TrainConfig, epoch: int, data: PreparedData) -> float:
    """The weight of the kl that the last step of an epoch was taken with."""
    steps = math.ceil(len(data.train) / config.batch_size)
    return warmed_beta(config.beta, step=epoch * steps - 1, steps_per_epoch=steps, warmup_epochs=config.warmup_epochs)


def last_rate(config: TrainConfig, epoch: int, data: PreparedData) -> float:
    """The learning rate of the last step of an epoch."""
    steps = math.ceil(len(data.train) / config.batch_size)
    return learning_rate(config, step=epoch * steps - 1, steps=config.epochs * steps)


class _Stack:
    """The stacked state of some trainings, and one epoch of it."""

    def __init__(self, members: Sequence[tuple[Training, TrainConfig]], data: PreparedData) -> None:
        trainings, configs = [t for t, _ in members], [c for _, c in members]
        self.trainings, self.configs, self.data, self.batch = trainings, configs, data, configs[0].batch_size
        device = trainings[0].generator.device
        K, N = len(members), len(data.train)
        self.latent = max(t.model.latent_dim for t in trainings)  # Z
        self.pixels = data.train.images.flatten(1)  # (N, D)
        self.labels = one_hot(data.train.labels, data.classes).float()  # (N, C)

        self.parameters = [self._stacked(n, [list(t.model.parameters())[n] for t in trainings]) for n in self._numbers]
        self.means = [self._stacked(n, [t.optimizer.means[n] for t in trainings]) for n in self._numbers]
        self.squares = [self._stacked(n, [t.optimizer.squares[n] for t in trainings]) for n in self._numbers]
        self.layers = Layers.like(stackable(trainings[0].model), self.parameters)
        self.adams = [
            Adam([m[k] for m in self.means], [s[k] for s in self.squares], steps)
            for k, (t, steps) in enumerate((t, t.optimizer.steps.clone()) for t in trainings)
        ]
        self.free_bits = configs[0].free_bits
        self.steps_per_epoch = per_epoch = math.ceil(N / self.batch)
        self.rates = torch.zeros(per_epoch, K, device=device)  # of the steps of one epoch
        self.beta = torch.tensor([c.beta for c in configs], dtype=torch.float64, device=device)  # (K,)
        self.warm_up = torch.tensor([c.warmup_epochs * per_epoch for c in configs], dtype=torch.float64, device=device)
        self.step = torch.tensor([t.epoch * per_epoch for t in trainings], device=device)  # (K,)
        self.order = torch.zeros(K, N, dtype=torch.long, device=device)
        self.noise = torch.zeros(K, N, self.latent, device=device)
        self.places = torch.arange(self.batch, device=device)
        self.offset = torch.zeros((), dtype=torch.long, device=device)
        self.sums = EpochSums(device, (K,))
        self.graph: torch.cuda.CUDAGraph | None = None

    # ---- one epoch -------------------------------------------------------------------------------------------------

    def run_epoch(self) -> dict[str, Float[Tensor, " K"]]:
        """Means over the epoch's images, in nats per image."""
        N = len(self.pixels)
        for k, training in enumerate(self.trainings):
            order, noise = epoch_draws(training, N)
            self.order[k] = order
            self.noise[k, :, : noise.shape[1]] = noise
        self.rates.copy_(torch.tensor(self._rates_of_epoch()))
        self.offset.zero_()
        self.sums.clear()
        whole, rest = divmod(N, self.batch)
        self._whole_batches(whole)
        if rest:
            self._take_step(rest)
        return self.sums.means(N)

    def _whole_batches(self, count: int) -> None:
        if self.pixels.device.type != "cuda":
            for _ in range(count):
                self._take_step(self.batch)
            return
        if self.graph is None:
            eager = min(WARM_UP_STEPS, count)
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):  # a capture needs its libraries warm, on a stream of its own
                for _ in range(eager):
                    self._take_step(self.batch)
            torch.cuda.current_stream().wait_stream(side)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):  # records the step and does not take it
                self._take_step(self.batch)
            count -= eager
        for _ in range(count):
            self.graph.replay()

    def _take_step(self, size: int) -> None:
        """The next `size` images of every member's order. Reads and writes nothing but tensors of this stack."""
        places = self.offset + self.places[:size]  # (B,)
        index = self.order.index_select(1, places)  # (K, B)
        x = self.pixels.index_select(0, index.flatten()).unflatten(0, index.shape) / 255  # (K, B, D)
        c = self.labels.index_select(0, index.flatten()).unflatten(0, index.shape)
        eps = self.noise.index_select(1, places)  # (K, B, Z)
        warming = self.beta * self.step / self.warm_up.clamp(min=1)
        beta = torch.where(self.step >= self.warm_up, self.beta, warming).float()  # (K,), as `warmed_beta`
        gradients, bce, kl = elbo_gradients(self.layers, x, c, eps, beta, free_bits=self.free_bits)
        rates = self.rates.index_select(0, (self.offset // self.batch).view(1))[0]  # (K,)
        for k, adam in enumerate(self.adams):
            adam.step([p[k] for p in self.parameters], [g[k] for g in gradients], rates[k])
        self.sums.add(bce, kl, beta)
        self.offset += size
        self.step += 1

    def _rates_of_epoch(self) -> list[list[float]]:
        """The rate of every step and member, (S, K). A table: one formula for one model and for many."""
        S = self.steps_per_epoch
        members = [(c, t.epoch * S, c.epochs * S) for t, c in zip(self.trainings, self.configs, strict=True)]
        return [[learning_rate(c, step=first + s, steps=steps) for c, first, steps in members] for s in range(S)]

    # ---- in and out of the stack -----------------------------------------------------------------------------------

    def write_back(self) -> None:
        """The stacked state into the members' own trainings."""
        for k, (training, adam) in enumerate(zip(self.trainings, self.adams, strict=True)):
            own = training.optimizer
            for n, parameter in enumerate(training.model.parameters()):
                for target, stacked in (
                    (parameter, self.parameters[n]),
                    (own.means[n], self.means[n]),
                    (own.squares[n], self.squares[n]),
                ):
                    target.copy_(self._member(n, stacked[k], training.model.latent_dim))
            own.steps.copy_(adam.steps)

    @property
    def _numbers(self) -> range:
        return range(len(list(self.trainings[0].model.parameters())))

    def _stacked(self, number: int, tensors: Sequence[Tensor]) -> Tensor:
        """One parameter of every member, padded with zeros to one size."""
        padded = []
        for tensor, training in zip(tensors, self.trainings, strict=True):
            where = self._places_of(number, training.model.latent_dim)
            if where is None:
                padded.append(tensor.detach())
                continue
            dim, index = where
            size = list(tensor.shape)
            size[dim] += (self.latent - training.model.latent_dim) * self._blocks(number)
            padded.append(tensor.new_zeros(size).index_copy_(dim, index, tensor.detach()))
        return torch.stack(padded)

    def _member(self, number: int, padded: Tensor, latent_dim: int) -> Tensor:
        """The part of a padded parameter that is the member's own."""
        where = self._places_of(number, latent_dim)
        return padded if where is None else padded.index_select(*where)

    def _places_of(self, number: int, latent_dim: int) -> tuple[int, Tensor] | None:
        """Along which axis the latent dimensions of a parameter lie, and where a member's go; None if it has none."""
        model = stackable(self.trainings[0].model)
        layers = len(self._numbers) // 4  # of the encoder; two parameters each, as many in the decoder
        device = self.trainings[0].generator.device
        latents = torch.arange(latent_dim, device=device)
        if number in (2 * layers - 2, 2 * layers - 1):  # the codes: mu, and then logvar if there is one
            return 0, torch.cat([latents + block * self.latent for block in range(self._blocks(number))])
        if number == 2 * layers:  # what the decoder takes: z, and then the label if it sees one
            return 1, torch.cat([latents, self.latent + torch.arange(model.label_width_out, device=device)])
        return None

    def _blocks(self, number: int) -> int:
        """How often the latent dimensions occur along that axis."""
        layers = len(self._numbers) // 4
        return 2 if number < 2 * layers and self.trainings[0].model.stochastic else 1
