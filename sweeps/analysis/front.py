"""The Pareto front of a study's trials, and one balanced choice on it."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from pipeline.runs.outcome import Outcome
from sweeps.study.objective import Objective, physical_range


def pareto_front(frame: pd.DataFrame, objectives: tuple[Objective, ...]) -> tuple[int, ...]:
    """Numbers of the complete trials that no other complete trial dominates: at least as good in all, better in one."""
    complete = frame[frame["state"] == "complete"]
    gains = np.array([[row[o.name] * (1 if o.maximise else -1) for o in objectives] for _, row in complete.iterrows()])
    numbers = complete["number"].tolist()
    if len(objectives) == 1:
        return (int(numbers[int(gains[:, 0].argmax())]),) if numbers else ()
    return tuple(
        int(number)
        for number, own in zip(numbers, gains, strict=True)
        if not ((gains >= own).all(1) & (gains > own).any(1)).any()
    )


def balanced(
    frame: pd.DataFrame, front: tuple[int, ...], objectives: tuple[Objective, ...], outcomes: Mapping[int, Outcome]
) -> int | None:
    """The knee: the trial of the front that is nearest to the ideal point when each axis is put on its physical range.

    Physical, not the range of this front: the choice does not move because a hopeless trial widened an axis.
    """
    if not front or not all(number in outcomes for number in front):
        return front[0] if front else None
    some = outcomes[front[0]]
    values = frame.set_index("number")[[o.name for o in objectives]].astype(float).to_dict("index")

    def distance(number: int) -> float:
        total = 0.0
        for objective in objectives:
            worst, best = physical_range(objective, some.metrics, classes=some.facts["classes"])
            total += (1 - (values[number][objective.name] - worst) / (best - worst)) ** 2
        return total**0.5

    return min(front, key=lambda number: (distance(number), number))
