"""The section "Result": what a run's numbers say, what to beware of, its headline numbers under the scored prior."""

from pipeline.evaluation.catalog import METRICS, directed, headlines
from pipeline.evaluation.thresholds import FEWEST_IMAGES
from pipeline.reporting.blocks import Block, Facts, Section, Table, Text
from pipeline.reporting.cautions import cautions
from pipeline.reporting.citation import Phrase, cited, cited_share
from pipeline.reporting.prior import prior_lines
from pipeline.runs.listing import OBJECTIVES
from pipeline.runs.outcome import Outcome


def result_section(outcome: Outcome) -> Section:
    """What a reader came for: the sentence, its limits, the objectives, the other headlines, the prior."""
    beware = tuple(Text(sentence, caution=True) for sentence in cautions(outcome))
    rest = _others(outcome)
    blocks: list[Block] = [Text(_answer(outcome), lead=True), *beware, *_called(outcome), _objectives(outcome)]
    return Section("Result", (*blocks, *([rest] if rest.rows else []), *_how_to_read(outcome), *prior_lines(outcome)))


def _called(outcome: Outcome) -> tuple[Text, ...]:
    """What somebody noted of the run."""
    tags = ", ".join(f"{name} = {value}" if value else name for name, value in outcome.label.tags.items())
    said = ". ".join(part for part in (outcome.label.note.rstrip("."), tags and f"Tagged {tags}") if part)
    return (Text(f"{said}."),) if said else ()


def _answer(outcome: Outcome) -> str:
    """What the numbers say, in a sentence."""
    accuracy, coverage, bound = (outcome.scored(name) for name in OBJECTIVES)
    if accuracy not in outcome.metrics:
        if bound not in outcome.metrics:
            return "An autoencoder: it reconstructs, and has no density to draw new images from."
        return Phrase("neg_elbo is ", cited(outcome, bound, form=".2f"), " nats per image; lower is better.")
    read = Phrase(
        cited_share(outcome, accuracy),
        " of the images it generates are read as the label that was asked for (real images: ",
        cited_share(outcome, f"{outcome.split}/judge_accuracy"),
        ")",
    )
    if coverage not in outcome.metrics:
        return Phrase(read, ".")
    share = cited(outcome, coverage, form=".0%")
    return Phrase(read, "; they reach ", share, " of the coverage of real images.")


def _objectives(outcome: Outcome) -> Facts:
    """The objectives that the run has, and the loss where it has none: each with its direction and what it is read
    against."""
    found = dict(headlines(outcome.scores))
    names = [name for name in _objective_names(outcome) if name in found]
    names = names or [name for name in found if name in ("bce_at_mean", "distortion_at_mean")][:1]
    pairs = tuple((directed(name), _value(outcome, name)) for name in names)
    return Facts(pairs, tuple(_note(outcome, name, found[name]) for name in names))


def _objective_names(outcome: Outcome) -> list[str]:
    """The objectives under the prior that is scored, without their split."""
    return [outcome.scored(name).partition("/")[2] for name in OBJECTIVES]


def _value(outcome: Outcome, name: str) -> str:
    """A headline with its unit, or its interval."""
    base = name.removesuffix("_expost")
    end = name.removeprefix(base)
    number = cited(outcome, f"{outcome.split}/{name}")
    match base:
        case "neg_elbo" | "nll_iw":
            half = cited([outcome], f"{outcome.split}/{base}_sem{end}", "95 % half-width", form=".2f")
            return Phrase(number, " ± ", half, " nats")
        case "conditional_accuracy":
            low, high = (cited(outcome, f"{outcome.split}/{base}_{side}{end}", form=".4f") for side in ("low", "high"))
            return Phrase(number, " [", low, ", ", high, "]")
        case "bce" | "kl" | "bce_at_mean" | "distortion" | "distortion_at_mean":
            return Phrase(number, " nats")
    return number


def _against(outcome: Outcome, name: str) -> str:
    """What a headline is read against."""
    base = name.removesuffix("_expost")
    end = name.removeprefix(base)

    def of(other: str, form: str) -> str:
        return cited(outcome, f"{outcome.split}/{other}", form=form)

    match base:
        case "neg_elbo" | "nll_iw":
            return "± 95 % over images"
        case "bce":
            return Phrase("entropy of the pixels, its floor: ", of("entropy_floor", ".2f"))
        case "distortion":
            likelihood = outcome.config.model.likelihood.replace("_", " ")
            return Phrase(f"a {likelihood} density; its floor: ", of("distortion_floor", ".2f"))
        case "bce_at_mean" | "distortion_at_mean":
            return "z at the mean: no bound"
        case "conditional_accuracy":
            return Phrase("95 % interval; real images: ", of("judge_accuracy", ".4f"))
        case "conditional_accuracy_b":
            return Phrase("real images: ", of("judge_b_accuracy", ".4f"))
        case "coverage_relative":
            own, real, size = of(f"coverage{end}", ".4f"), of("coverage_real", ".4f"), of("coverage_images", "d")
            return Phrase("coverage ", own, " / real images' ", real, "; ", size, " images a class")
        case "coverage_equivalent":
            return "real images that cover as much, per sample"
        case "vendi_ratio_read":
            return "real images: 1"
    return ""


def _note(outcome: Outcome, name: str, standard: str | None) -> str:
    """Which way is better, what it is read against, and what it is under N(0, I)."""
    better = METRICS[name].better
    said: list[str] = [f"{better} is better"] if better else []
    if against := _against(outcome, name):
        said.append(against)
    if standard is not None:
        said.append(Phrase("under N(0, I): ", cited(outcome, f"{outcome.split}/{standard}")))
    return Phrase(*[piece for part in said for piece in ("; ", part)][1:])


def _others(outcome: Outcome) -> Table:
    """The headlines that are no objectives."""
    shown = _objective_names(outcome)
    some = any(standard for _, standard in headlines(outcome.scores))
    rows = tuple(
        (
            directed(name),
            _value(outcome, name),
            *((cited(outcome, f"{outcome.split}/{standard}") if standard else "-",) if some else ()),
            _against(outcome, name) or "-",
        )
        for name, standard in headlines(outcome.scores)
        if name not in shown
    )
    columns = ("also", "value", *(("under N(0, I)",) if some else ()), "read against")
    return Table(columns, rows, caption="↑ higher is better, ↓ lower is better; a name leads to what it means.")


def _how_to_read(outcome: Outcome) -> tuple[Text, ...]:
    """What the numbers do not say."""
    if f"{outcome.split}/conditional_accuracy" not in outcome.metrics:
        unsaid = "This model takes no label, so nothing is said of conditional accuracy, coverage and diversity."
        return (Text(unsaid),)
    if f"{outcome.split}/coverage_relative" not in outcome.metrics:
        few = f"There are fewer than {FEWEST_IMAGES} real images of every class in one of the splits"
        return (Text(f"{few}, too few for a score of coverage or diversity."),)
    return (
        Text(
            "Accuracy is blind to collapse; coverage drops with blur as well as with collapse: read the two together."
        ),
    )
