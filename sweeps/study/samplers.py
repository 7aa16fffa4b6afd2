"""The samplers that propose params, one row each. A sampler is built anew for a trial, and seeded for it.

A start of Sobol points covers the space evenly, where as many random ones leave holes (Sobol 1967; Owen 1998, who
scrambles them so that a seed matters). What follows models the results: TPE (Bergstra et al. 2011) or a Gaussian
process with expected hypervolume improvement (Daulton et al. 2020), which knows only trials trained to their end.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeps.study.space import Searched

if TYPE_CHECKING:  # loaded when one is built
    from optuna.samplers import BaseSampler

START = 8
"""Sobol points at the start."""


@dataclass(frozen=True)
class Sampler:
    """How trial n is proposed."""

    build: "Callable[[int], BaseSampler]"
    """From a seed."""
    start: int = 0
    """Trials that are points of a Sobol sequence instead."""


def _optunas(name: str, **options: Any) -> "Callable[[int], BaseSampler]":
    """One of Optuna's samplers, with these options, from a seed."""

    def build(seed: int) -> "BaseSampler":
        from optuna import samplers

        sampler: BaseSampler = getattr(samplers, name)(seed=seed, **options)
        return sampler

    return build


SAMPLERS: dict[str, Sampler] = {
    "tpe": Sampler(_optunas("TPESampler")),  # after 10 random trials
    "tpe-joint": Sampler(_optunas("TPESampler", n_startup_trials=3, multivariate=True)),
    "sobol-tpe": Sampler(_optunas("TPESampler", n_startup_trials=START, multivariate=True), START),
    "sobol-gp": Sampler(_optunas("GPSampler", n_startup_trials=START), START),
    "random": Sampler(_optunas("RandomSampler")),
}


def sobol_point(space: tuple[Searched, ...], n: int, *, seed: int) -> Mapping[str, Any]:
    """Point n, from 0, of a scrambled Sobol sequence over the space: params by name."""
    from scipy.stats.qmc import Sobol

    point = Sobol(len(space), scramble=True, rng=seed).random_base2(max(n, 1).bit_length())[n]
    return {dimension.name: dimension.at(share) for dimension, share in zip(space, point.tolist(), strict=True)}
