"""The section "Result": a run's headline numbers and a sentence on them, under the prior that is scored."""

from pipeline.evaluation.catalog import headlines
from pipeline.evaluation.thresholds import FEWEST_IMAGES
from pipeline.reporting.blocks import Facts, Section, Text
from pipeline.reporting.cautions import cautions
from pipeline.reporting.citation import Phrase, cited
from pipeline.reporting.prior import prior_lines
from pipeline.runs.outcome import Outcome


def result_section(outcome: Outcome) -> Section:
    """What a reader came for."""
    beware = tuple(Text(sentence, caution=True) for sentence in cautions(outcome))
    return Section("Result", (*_called(outcome), *beware, Facts(_headlines(outcome)), *_verdict(outcome)))


def _called(outcome: Outcome) -> tuple[Text, ...]:
    """What somebody noted of the run."""
    tags = ", ".join(f"{name} = {value}" if value else name for name, value in outcome.label.tags.items())
    said = ". ".join(part for part in (outcome.label.note.rstrip("."), tags and f"Tagged {tags}") if part)
    return (Text(f"{said}."),) if said else ()


def _headlines(outcome: Outcome) -> tuple[tuple[str, str], ...]:
    """Each number with its interval or its bound, and what it is under N(0, I), beside it."""
    facts = []
    for name, standard in headlines(outcome.scores):
        parts = [cited(outcome, f"{outcome.split}/{name}"), *_beside(outcome, name)]
        if standard is not None:
            parts += ["; under N(0, I) ", cited(outcome, f"{outcome.split}/{standard}")]
        facts.append((name, Phrase(*parts)))
    return tuple(facts)


def _beside(outcome: Outcome, name: str) -> tuple[str, ...]:
    """The unit of a headline, and what it is read against."""
    base = name.removesuffix("_expost")
    end = name.removeprefix(base)

    def of(other: str, form: str) -> str:
        return cited(outcome, f"{outcome.split}/{other}", form=form)

    match base:
        case "neg_elbo" | "nll_iw":
            half = cited([outcome], f"{outcome.split}/{base}_sem{end}", "95 % half-width", form=".2f")
            return " ± ", half, " nats (95 % over images)"
        case "bce":
            return " nats; entropy floor ", of("entropy_floor", ".2f")
        case "distortion":
            likelihood = outcome.config.model.likelihood
            return f" nats of a {likelihood.replace('_', ' ')} density; its floor ", of("distortion_floor", ".2f")
        case "kl":
            return (" nats",)
        case "bce_at_mean" | "distortion_at_mean":
            return (" nats; z at the mean, not a bound",)
        case "conditional_accuracy":
            low, high = of(f"{base}_low{end}", ".4f"), of(f"{base}_high{end}", ".4f")
            return " [", low, ", ", high, "]; real images ", of("judge_accuracy", ".4f")
        case "conditional_accuracy_b":
            return "; real images ", of("judge_b_accuracy", ".4f")
        case "coverage_relative":
            own, real, size = of(f"coverage{end}", ".4f"), of("coverage_real", ".4f"), of("coverage_images", "d")
            return " (coverage ", own, ", real images ", real, "; ", size, " images a class)"
        case "coverage_equivalent":
            return (" of the samples are worth a real image: so many real images cover as much",)
        case "vendi_ratio_read":
            return (" of as many real images' diversity, by the images read as their label; 1 is like real ones",)
    return ()


def _verdict(outcome: Outcome) -> tuple[Text, ...]:
    """What the numbers say, in sentences."""
    if f"{outcome.split}/conditional_accuracy" not in outcome.metrics:
        unsaid = "This model takes no label, so nothing is said of conditional accuracy, coverage and diversity."
        return Text(unsaid), *prior_lines(outcome)
    read = Phrase(
        "Of the images generated for a label, ",
        cited(outcome, outcome.scored("conditional_accuracy"), form=".1%"),
        " are read as that label by a classifier that reads ",
        cited(outcome, f"{outcome.split}/judge_accuracy", form=".1%"),
        " of real images right. ",
    )
    if f"{outcome.split}/coverage_relative" not in outcome.metrics:
        return (
            Text(
                Phrase(
                    read,
                    f"There are fewer than {FEWEST_IMAGES} real images of every class in one of the splits, too few "
                    "for a score of coverage or diversity.",
                )
            ),
            *prior_lines(outcome),
        )
    return (
        Text(
            Phrase(
                read,
                "They reach ",
                cited(outcome, outcome.scored("coverage_relative"), form=".0%"),
                " of the coverage of real images. Accuracy is blind to collapse and coverage drops with blur as well "
                "as with collapse: read the two together.",
            )
        ),
        *prior_lines(outcome),
    )
