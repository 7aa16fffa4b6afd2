"""A run in a few lines: a sentence, what to beware of, the objectives with direction, ceiling, interval. Plain text."""

from pipeline.evaluation.catalog import METRICS, of_likelihood, share_form, show
from pipeline.reporting.cautions import cautions
from pipeline.runs.listing import OBJECTIVES
from pipeline.runs.names import differences, setting_words
from pipeline.runs.outcome import Outcome


def brief(outcome: Outcome, width: int = 120) -> list[str]:
    """What is said of a run on the terminal, the important first; sentences are as long as they are, the numbers in
    columns where `width` characters hold them."""
    config, split = outcome.config, outcome.split
    own = setting_words(differences(config), most=6) or "all settings at their defaults"
    lines = [f"{outcome.name}: {config.model.kind} on {config.data.name}, {own}. {sentence(outcome)}"]
    lines += [f"beware: {caution}" for caution in cautions(outcome)]
    rows = [_row(outcome, name) for name in OBJECTIVES if outcome.scored(name) in outcome.metrics]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if rows:
        lines.append(f"on {split} images, {_prior(outcome)}:")
    columns = ["  " + "  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    if max(map(len, columns), default=0) <= width:
        return lines + columns
    for key, better, value, against in rows:
        lines.append(f"  {key}  {value}")
        lines.append("    " + "; ".join(part for part in (better, against) if part))
    return lines


def sentence(outcome: Outcome) -> str:
    """What the numbers say."""
    metrics = outcome.metrics
    accuracy, coverage = (outcome.scored(name) for name in ("conditional_accuracy", "coverage_relative"))
    if accuracy not in metrics:
        return _unread(outcome)
    said = f"{metrics[accuracy]:{share_form(metrics[accuracy])}} of its images are read as their label"
    if coverage in metrics:
        said += f", and they reach {metrics[coverage]:.0%} of the coverage of real images"
    return f"{said}."


def _unread(outcome: Outcome) -> str:
    """Of a model whose images nobody reads as labels."""
    model, metrics = outcome.config.model, outcome.metrics
    bound, loss = outcome.scored("neg_elbo"), f"{outcome.split}/{of_likelihood('bce', model.likelihood)}"
    if bound not in metrics:
        return f"It reconstructs images at {metrics[loss]:.2f} nats, and has no density to draw new ones from."
    why = "No class has images enough for scores" if model.kind == "cvae" else "It takes no label"
    return f"{why}; its bound is {metrics[bound]:.2f} nats an image."


def _prior(outcome: Outcome) -> str:
    return f"z from the fitted {outcome.config.sampling.prior}" if outcome.fitted else "z from N(0, I)"


def _row(outcome: Outcome, name: str) -> tuple[str, ...]:
    """An objective: name, direction, value, what it is read against."""
    metrics, key = outcome.metrics, outcome.scored(name)
    end = "_expost" if key.endswith("_expost") else ""
    better = METRICS[name].better
    against = ""
    if name == "conditional_accuracy":
        low, high = (metrics.get(f"{outcome.split}/{name}_{side}{end}") for side in ("low", "high"))
        if low is not None and high is not None:
            against = f"95 % {low:.4f} .. {high:.4f}; "
        against += f"real images {show(metrics[f'{outcome.split}/judge_accuracy'])}"
    elif name == "coverage_relative":
        against = "real images 1"
    elif (half := metrics.get(f"{outcome.split}/{name}_sem{end}")) is not None:
        floor = metrics.get(f"{outcome.split}/entropy_floor")
        against = f"95 % ± {1.96 * half:.2f} nats" + ("" if floor is None else f"; no decoder below {show(floor)}")
    return key, f"{better} is better" if better else "", show(metrics[key]), against
