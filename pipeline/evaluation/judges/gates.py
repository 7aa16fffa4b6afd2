"""What a judge must reach on real images before it may be used."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from pipeline.config.sections import GateConfig
from pipeline.errors import JudgeError
from pipeline.evaluation.blur import blurred
from pipeline.evaluation.judges.networks import (
    Judge,
    Kind,
    predict_logits,
)
from pipeline.evaluation.metrics.rates import expected_calibration_error

RELATIVE_ECE = 0.1
"""Largest calibration error of a judge whose gates are relative."""


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
    images: UInt8[Tensor, "N *C H W"],
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


def relative_bounds(values: Mapping[str, float], config: GateConfig, classes: int) -> dict[str, float]:
    """Bounds for images whose best accuracy nobody knows: of K classes half way from chance to all on clean images, on
    blurred ones the share of the judge's own accuracy on clean ones that `config` has them in."""
    bounds = dataclasses.asdict(config)
    half_way = (1 + 1 / classes) / 2
    for clean, blurs in (("clean", ("blur_1", "blur_1_5", "blur_2")), ("mlp_clean", ("mlp_blur_1_5",))):
        own = {blur: values.get(clean, 1.0) * bounds[blur] / bounds[clean] if bounds[clean] else 0.0 for blur in blurs}
        bounds |= own | {clean: half_way}
    # The mean of a class of photographs is no image of it, and a hundred images tell a calibration to a few per cent.
    return bounds | {"class_means": 0.0, "ece": max(config.ece, RELATIVE_ECE)}


def gates_from(kind: Kind, values: Mapping[str, float], config: GateConfig, classes: int) -> list[Gate]:
    """Those values held against the bounds of `config`; class means must all be read right."""
    bounds = {**dataclasses.asdict(config), "class_means": 1.0}
    if config.relative:
        bounds = relative_bounds(values, config, classes)
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
    images: UInt8[Tensor, "N *C H W"],
    labels: Int[Tensor, " N"],
    class_means: Float[Tensor, "K D"],
    config: GateConfig,
) -> list[Gate]:
    """The gates of judge A or B: `gate_values` held against the bounds of `config`."""
    return gates_from(kind, gate_values(kind, judge, images, labels, class_means), config, len(class_means))


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
