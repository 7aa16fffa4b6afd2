"""The section "Result": a run's headline numbers and a sentence on them."""

from pipeline.evaluation.catalog import HEADLINES
from pipeline.reporting.blocks import Facts, Section, Text
from pipeline.reporting.citation import Phrase, cited
from pipeline.runs.outcome import Outcome


def result_section(outcome: Outcome) -> Section:
    """What a reader came for."""
    return Section("Result", (Facts(_headlines(outcome)), _verdict(outcome)))


def _headlines(outcome: Outcome) -> tuple[tuple[str, str], ...]:
    """The first numbers of a run, each with its interval or its bound beside it."""
    names = outcome.scores

    def of(name: str, form: str = "show") -> str:
        return cited(outcome, f"{outcome.split}/{name}", form=form)

    beside: dict[str, tuple[str, ...]] = {"kl": (" nats",), "bce_at_mean": (" nats; z at the mean, not a bound",)}
    beside["bce"] = (" nats; entropy floor ", of("entropy_floor", ".2f"))
    if "neg_elbo" in names:
        half = cited([outcome], f"{outcome.split}/neg_elbo_sem", "95 % half-width", form=".2f")
        beside["neg_elbo"] = (" ± ", half, " nats (95 % over images)")
    if "conditional_accuracy" in names:
        low, high = of("conditional_accuracy_low", ".4f"), of("conditional_accuracy_high", ".4f")
        real = of("judge_accuracy", ".4f")
        beside["conditional_accuracy"] = (" [", low, ", ", high, "]; real images ", real)
        beside["conditional_accuracy_b"] = ("; real images ", of("judge_b_accuracy", ".4f"))
        coverage, coverage_real = of("coverage", ".4f"), of("coverage_real", ".4f")
        beside["coverage_relative"] = (" (coverage ", coverage, ", real images ", coverage_real, ")")
        vendi, vendi_real = of("vendi", ".1f"), of("vendi_real", ".1f")
        beside["vendi_ratio"] = (" (", vendi, " of ", vendi_real, " effective images)")
    return tuple((name, Phrase(of(name), *beside.get(name, ()))) for name in HEADLINES if name in names)


def _verdict(outcome: Outcome) -> Text:
    """How right and how varied the generated images are, in words."""
    split = outcome.split
    if f"{split}/conditional_accuracy" not in outcome.metrics:
        return Text("This model takes no label, so nothing is said of conditional accuracy, coverage and diversity.")
    return Text(
        Phrase(
            "Of the images generated for a label, ",
            cited(outcome, f"{split}/conditional_accuracy", form=".1%"),
            " are read as that label by a classifier that reads ",
            cited(outcome, f"{split}/judge_accuracy", form=".1%"),
            " of real images right. They reach ",
            cited(outcome, f"{split}/coverage_relative", form=".0%"),
            " of the coverage of real images. Accuracy is blind to collapse and coverage drops with blur as well "
            "as with collapse: read the two together.",
        )
    )
