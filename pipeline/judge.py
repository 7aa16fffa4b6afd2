"""The two evaluation classifiers: their training, outputs and gates. Knows tensors and JudgeConfig; no files, no VAE.

A judge trained on clean digits alone misreads the blurred ones a VAE draws and can flip the sign of a conclusion, so
both are trained on shifted, turned, blurred, dimmed and noisy images, and pass gates on blurred real ones before use:

    judge   architecture                                             role
    A       four 3x3 convolutions (16 16 32 32), hidden layer 128    drives every score
    B       multilayer perceptron 512-256                            held out for reports

Lengths in pixels are those of a 28 x 28 image; other images scale them with their height.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from pipeline.config import GateConfig, JudgeConfig
from pipeline.errors import JudgeError
from pipeline.metrics.rates import expected_calibration_error

Kind = Literal["a", "b"]

REFERENCE_HEIGHT = 28
"""Image height at which shifts and blurs are given in pixels."""
MAX_SHIFT = 2.0
"""Training images move by U(-2, 2) pixels each way."""
MAX_ROTATION = math.radians(10)
"""They turn by U(-10, 10) degrees."""
MAX_BLUR = 2.0
"""They are blurred with a Gaussian of sigma ~ U(0, 2) pixels."""
CONTRAST = (0.6, 1.4)
"""Their grey values are multiplied by a factor drawn uniformly from here, then clamped to 1."""
MAX_NOISE = 0.05
"""They get Gaussian noise of standard deviation ~ U(0, 0.05)."""
BATCH = 250
"""Images per forward pass when judging: on one core a larger batch falls out of the cache and is 1.6 times slower."""


class ConvJudge(nn.Module):
    """Judge A: two blocks of two 3x3 convolutions and a max-pool, then one hidden layer; flat images in [0, 1].

    A block pools before it normalises (as airbench does): a quarter of the batch-norm work.
    """

    def __init__(self, *, height: int, width: int, classes: int) -> None:
        super().__init__()
        self.height, self.width = height, width
        self.convolutions = nn.Sequential(
            *_convolution(1, 16, pool=False),
            *_convolution(16, 16, pool=True),
            *_convolution(16, 32, pool=False),
            *_convolution(32, 32, pool=True),
        )
        self.head = nn.Sequential(*_hidden(32 * (height // 4) * (width // 4), 128), nn.Linear(128, classes))

    def features(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B F"]:
        """The last convolution's activations after the last pool, flat: F = 32 * (H // 4) * (W // 4)."""
        x = x.view(-1, 1, self.height, self.width)
        # Channels last is 1.5 times faster on a CPU; only the activations are, so that the weights save as they are.
        return self.convolutions(x.to(memory_format=torch.channels_last)).flatten(1)

    def forward(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """Class logits."""
        return self.head(self.features(x))


class MLPJudge(nn.Module):
    """Judge B: two hidden layers of 512 and 256 with dropout; flat images in [0, 1]."""

    def __init__(self, *, height: int, width: int, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*_hidden(height * width, 512), nn.Dropout(0.2), *_hidden(512, 256))
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(256, classes))

    def features(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B F"]:
        """The last hidden layer's activations: F = 256."""
        return self.body(x)

    def forward(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """Class logits."""
        return self.head(self.features(x))


Judge = ConvJudge | MLPJudge


def _convolution(n_in: int, n_out: int, *, pool: bool) -> list[nn.Module]:
    pooling = [nn.MaxPool2d(2)] if pool else []
    return [
        nn.Conv2d(n_in, n_out, 3, padding=1, bias=False),
        *pooling,
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    ]


def _hidden(n_in: int, n_out: int) -> list[nn.Module]:
    return [nn.Linear(n_in, n_out, bias=False), nn.BatchNorm1d(n_out), nn.ReLU(inplace=True)]


def build_judge(kind: Kind, *, height: int, width: int, classes: int) -> Judge:
    """An untrained judge for images of H x W pixels and K classes."""
    architecture = ConvJudge if kind == "a" else MLPJudge
    return architecture(height=height, width=width, classes=classes)


def blurred(images: Float[Tensor, "N H W"], sigma: float | Float[Tensor, " N"]) -> Float[Tensor, "N H W"]:
    """Images convolved with a Gaussian of standard deviation sigma, in pixels at 28 x 28; one sigma, or one per image.

    Borders mirror the image (scipy's mode "reflect"), so that no grey is lost: a blurred image sums to what it did.
    """
    _, H, W = images.shape
    sigma = torch.as_tensor(sigma, dtype=images.dtype, device=images.device) * H / REFERENCE_HEIGHT
    rows, columns = _cosines(H, images), _cosines(W, images)  # (H, H), (W, W)
    response = _gaussian_response(H, sigma)[..., :, None] * _gaussian_response(W, sigma)[..., None, :]
    return rows.T @ (rows @ images @ columns.T * response) @ columns


def _cosines(length: int, like: Tensor) -> Float[Tensor, "L L"]:
    """The orthonormal cosine transform DCT-II, a frequency per row: it diagonalises every symmetric mirrored blur."""
    k = torch.arange(length, dtype=like.dtype, device=like.device)
    waves = (torch.pi * k[:, None] * (k + 0.5) / length).cos() * (2 / length) ** 0.5
    waves[0] /= 2**0.5
    return waves


def _gaussian_response(length: int, sigma: Float[Tensor, "*N"]) -> Float[Tensor, "*N L"]:
    """What a sampled Gaussian kernel, normalised to sum 1, multiplies each of the L cosine waves by."""
    d = torch.arange(length, dtype=sigma.dtype, device=sigma.device)
    # The floors make sigma 0 the identity instead of 0 / 0, and keep denormals, which are slow, out of the product.
    kernel = (-0.5 * (d / sigma[..., None].clamp(min=1e-3)).square()).clamp(min=-50).exp()
    kernel = kernel * torch.where(d == 0, 1, 2)  # both sides
    return kernel @ (torch.pi * d[:, None] * d / length).cos() / kernel.sum(-1, keepdim=True)


def augmented(images: Float[Tensor, "N H W"], generator: torch.Generator) -> Float[Tensor, "N H W"]:
    """Each image shifted, turned, blurred, dimmed or brightened and made noisy by amounts of its own; in [0, 1].

    The same distortions as torchvision.transforms.v2's affine, gaussian_blur, adjust_brightness and gaussian_noise,
    which take one set of parameters for a batch: all of it per image costs a fifth of the first two on groups of 16.
    """
    N, H, W = images.shape

    def uniform(low: float, high: float) -> Float[Tensor, " N"]:
        return torch.rand(N, generator=generator, device=images.device) * (high - low) + low

    angle = uniform(-MAX_ROTATION, MAX_ROTATION)
    # affine_grid measures in half images: a shift of s pixels at 28 is 2 s / 28 at any size.
    dx, dy = (uniform(-MAX_SHIFT, MAX_SHIFT) * 2 / REFERENCE_HEIGHT for _ in range(2))
    cos, sin = angle.cos(), angle.sin()
    warp = torch.stack([cos, -sin * H / W, dx, sin * W / H, cos, dy], dim=-1).view(N, 2, 3)
    grid = F.affine_grid(warp, [N, 1, H, W], align_corners=False)
    images = F.grid_sample(images[:, None], grid, align_corners=False)[:, 0]
    images = blurred(images, uniform(0, MAX_BLUR)) * uniform(*CONTRAST)[:, None, None]
    noise = torch.randn(N, H, W, generator=generator, device=images.device) * uniform(0, MAX_NOISE)[:, None, None]
    return (images + noise).clamp(0, 1)


def _ignore(epoch: int, epochs: int, loss: float) -> None:
    pass


def fit_judge(
    kind: Kind,
    images: UInt8[Tensor, "N H W"],
    labels: Int[Tensor, " N"],
    *,
    classes: int,
    config: JudgeConfig,
    on_epoch: Callable[[int, int, float], None] = _ignore,
) -> Judge:
    """A judge trained on augmented images with AdamW and OneCycle (Smith & Topin 2018), in eval mode.

    Depends on `config`, the images and, in the last bits, the number of CPU threads; the caller's random state is left
    as it was. `on_epoch` gets the epoch from 1, the number of epochs, and the epoch's mean cross-entropy in nats.
    """
    N, H, W = images.shape
    seed = config.seed if kind == "a" else config.seed + 1
    epochs, rate = (
        (config.epochs, config.learning_rate) if kind == "a" else (config.mlp_epochs, config.mlp_learning_rate)
    )
    steps = max(1, N // config.batch_size)  # batches of equal size, to within one: batch norm cannot use a batch of 1
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        generator = torch.Generator(images.device).manual_seed(seed)
        judge = build_judge(kind, height=H, width=W, classes=classes).to(images.device)
        optimizer = torch.optim.AdamW(judge.parameters(), lr=rate, weight_decay=0.01, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * steps)
        for epoch in range(1, epochs + 1):
            total = torch.zeros((), device=images.device)
            for batch in torch.randperm(N, generator=generator, device=images.device).tensor_split(steps):
                x = augmented(images[batch].float() / 255, generator).flatten(1)
                loss = F.cross_entropy(judge(x), labels[batch])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                total += loss.detach() * len(batch)
            on_epoch(epoch, epochs, total.item() / N)
    return judge.eval()


def judge_outputs(
    judge: Judge, x: Float[Tensor, "N D"], *, batch: int = BATCH
) -> tuple[Float[Tensor, "N K"], Float[Tensor, "N F"]]:
    """Logits and features of flat images in [0, 1], from one pass; `batch` images at a time."""
    with torch.inference_mode():
        features = extract_features(judge, x, batch=batch)
        return judge.head(features), features


def predict_logits(judge: Judge, x: Float[Tensor, "N D"], *, batch: int = BATCH) -> Float[Tensor, "N K"]:
    """Logits of flat images in [0, 1]; `batch` images at a time."""
    with torch.inference_mode():
        return torch.cat([judge(part) for part in x.split(batch)])


def extract_features(judge: Judge, x: Float[Tensor, "N D"], *, batch: int = BATCH) -> Float[Tensor, "N F"]:
    """Features of flat images in [0, 1], the space coverage is measured in; `batch` images at a time."""
    with torch.inference_mode():
        return torch.cat([judge.features(part) for part in x.split(batch)])


@dataclass(frozen=True)
class Gate:
    """One thing a judge has to do before its word counts."""

    name: str
    """Judge and quantity, e.g. "A blur_1_5"."""
    value: float
    """What was measured: a rate in [0, 1]."""
    bound: float
    """The least value that passes; of the calibration error, the largest."""
    passed: bool


def gate_values(
    kind: Kind,
    judge: Judge,
    images: UInt8[Tensor, "N H W"],
    labels: Int[Tensor, " N"],
    class_means: Float[Tensor, "K D"],
) -> dict[str, float]:
    """What judge A or B reaches on real test images, by the name of its bound in GateConfig, rates in [0, 1].

    A is also shown the mean training image of every class: the blurriest thing that still has a right answer.
    """
    x = images.float() / 255

    def blur_accuracy(sigma: float) -> float:
        return _accuracy(predict_logits(judge, blurred(x, sigma).flatten(1)), labels)

    clean = predict_logits(judge, x.flatten(1))
    if kind == "b":
        return {"mlp_clean": _accuracy(clean, labels), "mlp_blur_1_5": blur_accuracy(1.5)}
    return {
        "clean": _accuracy(clean, labels),
        "blur_1": blur_accuracy(1.0),
        "blur_1_5": blur_accuracy(1.5),
        "blur_2": blur_accuracy(2.0),
        "class_means": _accuracy(predict_logits(judge, class_means), torch.arange(len(class_means)).to(labels)),
        "ece": expected_calibration_error(clean, labels),
    }


def _accuracy(logits: Float[Tensor, "N K"], labels: Int[Tensor, " N"]) -> float:
    return (logits.argmax(-1) == labels).double().mean().item()


def gates_from(kind: Kind, values: Mapping[str, float], config: GateConfig) -> list[Gate]:
    """Those values held against the bounds of `config`; class means must all be read right."""
    bounds = {**dataclasses.asdict(config), "class_means": 1.0}
    return [
        Gate(
            f"{kind.upper()} {quantity.removeprefix('mlp_')}",
            value,
            bounds[quantity],
            passed=value <= bounds[quantity] if quantity == "ece" else value >= bounds[quantity],
        )
        for quantity, value in values.items()
    ]


def judge_gates(
    kind: Kind,
    judge: Judge,
    images: UInt8[Tensor, "N H W"],
    labels: Int[Tensor, " N"],
    class_means: Float[Tensor, "K D"],
    config: GateConfig,
) -> list[Gate]:
    """The gates of judge A or B: `gate_values` held against the bounds of `config`."""
    return gates_from(kind, gate_values(kind, judge, images, labels, class_means), config)


def check_gates(gates: list[Gate], *, enforce: bool) -> None:
    """JudgeError naming every missed gate, if gates are enforced."""
    missed = [
        f"{gate.name} {gate.value:.4f} (at {'most' if gate.value > gate.bound else 'least'} {gate.bound:g})"
        for gate in gates
        if not gate.passed
    ]
    if enforce and missed:
        raise JudgeError(
            f"a judge missed its gates: {', '.join(missed)}; raise judge.epochs (A) or judge.mlp_epochs (B), "
            "or go on with a flagged judge: --set gates.enforce=false"
        )
