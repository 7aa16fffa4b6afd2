"""What a reader must know before the numbers: where a good score means little, in a sentence each. Measures nothing.

A score says what it says under conditions: that z is used, that the judge can read, that nothing is copied. Where one
of them fails, the number is right and what people take from it is wrong.
"""

from collections.abc import Iterator

from pipeline.evaluation.catalog import DISTORTION
from pipeline.evaluation.thresholds import COLLAPSED_KL, FEWEST_IMAGES
from pipeline.reporting.citation import Phrase, cited, cited_share
from pipeline.runs.outcome import Outcome
from pipeline.wording import shortened

FALLING = 0.005
"""Fall of val/neg_elbo over the last epoch, as a share, from which a training is called unfinished."""
BLIND = 0.1
"""Nats of a label leak that the probe cannot see, from which that is said."""
COARSER = 4
"""How many times the images that scores are taken on half of the classes have, from which that is said."""
MOSTLY_WRONG = 0.5
"""Conditional accuracy below which most samples are not what was asked for."""


def cautions(outcome: Outcome) -> tuple[Phrase, ...]:
    """The sentences; none for a run that can be read as it is."""
    return tuple(_found(outcome))


def _found(outcome: Outcome) -> Iterator[Phrase]:
    scores, split = outcome.scores, outcome.split

    def of(name: str, form: str = "show") -> str:
        return cited(outcome, f"{split}/{name}", form=form)

    if scores.get("data_copying_flagged"):
        yield Phrase(
            "It may copy training images: ",
            of("data_copying", ".1%"),
            " of its samples are unusually near to one in pixels, ",
            of("data_copying_shape", ".1%"),
            " in shape, ",
            of("data_copying_worst_class", ".1%"),
            " in the worst class; the nearest pairs show whether they are copies.",
        )
    if scores.get("kl", COLLAPSED_KL) < COLLAPSED_KL:
        yield Phrase(
            "The latent code is unused: its rate is ", of("kl", ".3f"), " nats an image, so that a class is one image."
        )
    neg_elbo = outcome.scored("neg_elbo")
    label_only = "label_only_bce" if "label_only_bce" in scores else DISTORTION["label_only_bce"]
    if neg_elbo in outcome.metrics and outcome.metrics[neg_elbo] > scores[label_only]:
        yield Phrase(
            "It is worse than the class means: neg_elbo ",
            cited(outcome, neg_elbo, form=".2f"),
            " nats, where a decoder that draws the mean image of each class has ",
            of(label_only, ".2f"),
            ".",
        )
    yield from _of_samples(outcome)
    if scores.get("label_information_floor", 0.0) > BLIND:
        yield Phrase(
            "The probe for labels in the latent code has too few images: leaks below ",
            of("label_information_floor", ".2f"),
            " nats are read as none, and it read ",
            of("label_information", ".2f"),
            ".",
        )
    missed = [gate[0] for gates in outcome.facts.get("gates", {}).values() for gate in gates if not gate[3]]
    if missed:
        yield Phrase(
            f"The judge missed its gate ({', '.join(missed)}): accuracy and coverage compare models of this data set, "
            "and say nothing beyond."
        )
    yield from _too_few(outcome)
    yield from _one_small_class(outcome)
    yield from _unfinished(outcome)


NAMED = 5
"""Classes that are named; of more it is said how many."""


def _too_few(outcome: Outcome) -> Iterator[Phrase]:
    few = outcome.facts.get("too_small", [])
    if not few or outcome.config.model.kind != "cvae":
        return
    classes = outcome.facts["classes"]
    if len(few) == classes:
        yield Phrase(
            f"There are too few images to judge any of the {classes} classes by: fewer than {FEWEST_IMAGES} in a "
            "split. Read accuracy with care; there are no scores of coverage and diversity."
        )
        return
    which = ", ".join(shortened(name) for name in few[:NAMED]) + " .." * (len(few) > NAMED)
    yield Phrase(
        f"There are too few images to judge {len(few)} of {classes} classes by ({which}): fewer than {FEWEST_IMAGES} "
        f"in a split. Read their accuracy with care; coverage and diversity are of the other {classes - len(few)}."
    )


def _one_small_class(outcome: Outcome) -> Iterator[Phrase]:
    """One class that has far fewer images than others makes the scores of all as coarse as its own."""
    sizes, taken = outcome.facts.get("class_images"), f"{outcome.split}/coverage_images"
    if not sizes or outcome.per_class is None or taken not in outcome.metrics:
        return
    names, size = outcome.per_class["table"]["class"], int(outcome.metrics[taken])
    fewest = [min(of_class) for of_class in zip(*sizes.values(), strict=True)]
    scored = sorted(n for n in fewest if n >= FEWEST_IMAGES)
    usual = min(scored[len(scored) // 2], outcome.config.score.per_class)
    if size * COARSER > usual:
        return
    smallest = shortened(names[fewest.index(scored[0])])
    yield Phrase(
        "Coverage and diversity are taken on ",
        cited(outcome, taken, form="d"),
        f" images of each class, since {smallest} has no more in a split; half of the classes have {usual} or more. "
        "Scores depend on that number, so it is one for all: more images of that class make all of them finer.",
    )


def _of_samples(outcome: Outcome) -> Iterator[Phrase]:
    accuracy = outcome.scored("conditional_accuracy")
    if accuracy not in outcome.metrics:
        return
    low = outcome.metrics[outcome.scored("conditional_accuracy_low")]
    measured = outcome.scored("coverage") in outcome.metrics
    if outcome.metrics[accuracy] < MOSTLY_WRONG:
        yield Phrase(
            "Most samples are wrong: ",
            cited_share(outcome, accuracy),
            " are read as their label",
            "; coverage and diversity count the wrong ones too." if measured else ".",
        )
    elif low > outcome.scores["judge_accuracy"]:
        yield Phrase(
            "Its samples are easier to read than real images (",
            cited_share(outcome, accuracy),
            " against ",
            cited_share(outcome, f"{outcome.split}/judge_accuracy"),
            "): they are clearer than real ones, which is no more than as good.",
        )


def _unfinished(outcome: Outcome) -> Iterator[Phrase]:
    epochs, name = len(outcome.history), "val/neg_elbo"
    if epochs < 2 or name not in outcome.history[-1]:
        return
    before, last = outcome.history[-2][name], outcome.history[-1][name]
    if before - last > FALLING * abs(before):
        yield Phrase(
            "Its training is unfinished: val/neg_elbo fell from ",
            cited(outcome, f"history/{epochs - 1}/{name}", form=".2f"),
            " to ",
            cited(outcome, f"history/{epochs}/{name}", form=".2f"),
            " nats in the last epoch.",
        )
