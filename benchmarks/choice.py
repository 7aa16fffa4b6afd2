"""How often a rule names the same trial, were every trial trained again: 200 resamplings with measured seed noise.

    python -m benchmarks.choice STUDY [STUDY ..]      studies of this home that have been brought to their end

The noise of an objective is its standard deviation over the re-trainings of the study's candidates. What counts is not
only how often the same trial is named, but what is lost: the distance of the named trial to the front's own best on the
trials' values as recorded, less that of the best named.
"""

import argparse
from collections import Counter

import numpy as np
from jaxtyping import Float

from pipeline.api import load_study
from pipeline.store.home import Home
from sweeps.analysis.choice import Front, choose
from sweeps.analysis.front import RULES, least
from sweeps.analysis.summary import Summary
from sweeps.study.hypervolume import gains
from sweeps.study.stopping import fronts

DRAWS = 200


def noise_of(summary: Summary) -> Float[np.ndarray, " M"]:
    """Standard deviation of each objective over seeds, pooled over the candidates."""
    keys = [o.key for o in summary.config.objectives]
    spread = [
        np.var([[outcome.metrics[key] for key in keys] for outcome in own], axis=0, ddof=1)
        for own in summary.retrained.values()
    ]
    return np.sqrt(np.mean(spread, axis=0))


def named(summary: Summary, *, draws: int, seeds: int) -> dict[str, list[int]]:
    """What each rule names in each resampling; and what is named among candidates that were trained again."""
    config, rng = summary.config, np.random.default_rng(0)
    complete = summary.frame[summary.frame["state"] == "complete"]
    numbers = complete["number"].to_numpy()
    true = complete[[o.name for o in config.objectives]].to_numpy(dtype=float)
    noise = noise_of(summary)
    found: dict[str, list[int]] = {name: [] for name in (*RULES, "among candidates")}
    for _ in range(draws):
        seen = true + noise * rng.standard_normal(true.shape)
        again = true + noise * rng.standard_normal((seeds, *true.shape))
        rows = next(fronts(gains(seen, summary.ranges)))
        front = Front(tuple(numbers[rows].tolist()), seen[rows], config.objectives, summary.ranges)
        own = front.gains(front.values)
        for name, rule in RULES.items():
            found[name].append(least(front.numbers, rule(own)))
        place = {n: i for i, n in enumerate(numbers.tolist())}
        choice = choose(front, lambda n, again=again, place=place: again[None, :, place[n]], seeds=seeds)  # type: ignore[misc]
        found["among candidates"].append(choice.trial)
    return found


def report(summary: Summary) -> None:
    found = named(summary, draws=DRAWS, seeds=max(2, summary.closing.final_seeds))
    front = summary.pareto
    assert front is not None
    complete = summary.frame[summary.frame["state"] == "complete"]
    scores = dict(
        zip(
            complete["number"],
            front.distances(complete[[o.name for o in front.objectives]].to_numpy(float)),
            strict=True,
        )
    )
    noise = ", ".join(f"{o.name} {sd:.4f}" for o, sd in zip(front.objectives, noise_of(summary), strict=True))
    print(f"{summary.config.name}: {len(complete)} complete trials; noise over seeds: {noise}")
    for name, trials in found.items():
        (first, times), *_ = Counter(trials).most_common(1)
        lost = np.mean([scores[n] for n in trials]) - min(scores.values())
        print(f"  {name}: trial {first} in {times / len(trials):.0%}; {len(set(trials))} different; lost {lost:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+")
    for name in parser.parse_args().studies:
        report(load_study(name, home=Home.from_environment()).summary)


if __name__ == "__main__":
    main()
