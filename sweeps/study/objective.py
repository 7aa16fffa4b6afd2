"""What a sweep optimises: validation scores, never test, never a beta-weighted loss.

A beta-weighted loss is a different quantity at every beta, and raw bce alone is least where beta is 0; neither is on
offer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.errors import ConfigError
from pipeline.evaluation.catalog import by_judge, of_likelihood

Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True)
class Objective:
    """One quantity to optimise, and the physical range that its values are normalised by."""

    name: str
    maximise: bool
    unit: str
    needs_labels: bool
    """Whether only a label-conditional model has it."""

    @property
    def key(self) -> str:
        """Its metric key."""
        return f"val/{self.name}"

    @property
    def direction(self) -> Direction:
        return "maximize" if self.maximise else "minimize"

    @property
    def label(self) -> str:
        return f"{self.name.replace('_', ' ')}{f' ({self.unit})' if self.unit else ''}"


OBJECTIVES = {
    o.name: o
    for o in (
        Objective("conditional_accuracy", True, "", True),
        Objective("conditional_accuracy_worst_class", True, "", True),
        Objective("coverage_relative", True, "", True),
        Objective("vendi_ratio_read", True, "", True),
        Objective("neg_elbo", False, "nats", False),
        Objective("conditional_accuracy_expost", True, "", True),
        Objective("conditional_accuracy_worst_class_expost", True, "", True),
        Objective("coverage_relative_expost", True, "", True),
        Objective("vendi_ratio_read_expost", True, "", True),
        Objective("neg_elbo_expost", False, "nats", False),
    )
}

DEFAULT = ("conditional_accuracy", "coverage_relative", "neg_elbo")
"""Right, varied, likely; under the prior that is scored."""


def default_objectives(model: str, prior: str) -> tuple[str, ...]:
    """The three defaults, or neg_elbo alone for a model without labels: of one generative model, with one prior."""
    end = "" if prior == "standard" else "_expost"
    return tuple(f"{name}{end}" for name in (DEFAULT if model == "cvae" else ("neg_elbo",)))


def chosen(names: tuple[str, ...], model: str, prior: str) -> tuple[Objective, ...]:
    """The objectives of these names; without names the default ones."""
    if model == "ae":
        raise ConfigError("a sweep needs --model vae or cvae: an ae has neither a prior to sample from nor an ELBO")
    names = names or default_objectives(model, prior)
    unknown = [n for n in names if n not in OBJECTIVES]
    if unknown:
        raise ConfigError(f"unknown objective {unknown[0]}; objectives are {', '.join(OBJECTIVES)}")
    if len(set(names)) < len(names):
        raise ConfigError(f"an objective is named twice: {', '.join(names)}")
    for name in names:
        if OBJECTIVES[name].needs_labels and model != "cvae":
            raise ConfigError(f"objective {name} needs --model cvae; {model} takes no label; choose neg_elbo")
        if name.endswith("_expost") and prior == "standard":
            raise ConfigError(f"objective {name} needs a fitted prior; make --prior standard mixture or gaussian")
    return tuple(OBJECTIVES[n] for n in names)


def values(objectives: tuple[Objective, ...], metrics: Mapping[str, float], *, judge: int = 1) -> list[float]:
    """The objective values of a trial, from its validation metrics; as another judge of a panel reads them, where it
    reads them at all."""
    return [metrics.get(f"val/{by_judge(o.name, judge)}", metrics[o.key]) for o in objectives]


def physical_range(objective: Objective, metrics: Mapping[str, float], *, classes: int) -> tuple[float, float]:
    """Worst and best value that mean something, so that axes of different units can be weighed against each other.

    Conditional accuracy runs from chance to what the judge reaches on real images; relative coverage and the Vendi
    ratio from 0 to the real value, 1; neg_elbo from a decoder that ignores z (the class means) down to the floor of its
    likelihood, of a Bernoulli decoder the entropy of the grey pixels; each the same under either prior. `metrics` are
    any trial's: the bounds are facts of the data.
    """
    if objective.name.startswith("conditional_accuracy"):
        return 1 / classes, metrics["val/judge_accuracy"]
    if objective.name.startswith("neg_elbo"):
        likelihood = "bernoulli" if "val/entropy_floor" in metrics else "a density"
        worst, best = (f"val/{of_likelihood(name, likelihood)}" for name in ("label_only_bce", "entropy_floor"))
        return metrics[worst], metrics[best]
    return 0.0, 1.0
