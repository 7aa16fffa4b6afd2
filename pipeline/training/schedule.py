"""The learning rate of every step, as a function of its number. Knows settings; no tensors, models or optimizers.

Nothing is kept between two steps, so a resumed training and a member of a population take the rates of one that ran
through alone.
"""

import math

from pipeline.config.sections import TrainConfig

WARM_UP = 0.02
"""Share of the steps over which a cosine rises to its peak: Adam's first steps are of full size whatever the gradient,
since its second moment is estimated from a few. 0.3 nats on MNIST against none (benchmarks/RESULTS.md)."""


def learning_rate(config: TrainConfig, *, step: int, steps: int) -> float:
    """Adam's rate at a step counted from 0, of `steps` in the whole training.

    constant: the same at every step. cosine: a linear rise to the peak, then half a cosine that would reach 0 one step
    after the last (Loshchilov & Hutter 2017, eq. 5, without restarts).
    """
    if config.schedule == "constant":
        return config.learning_rate
    rise = int(WARM_UP * steps)
    if step < rise:
        return config.learning_rate * (step + 1) / (rise + 1)
    return config.learning_rate * (1 + math.cos(math.pi * (step - rise) / (steps - rise))) / 2
