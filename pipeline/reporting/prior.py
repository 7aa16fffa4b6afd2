"""What a report says of the prior that z is drawn from: the gap to N(0, I), the fit, what was cut. Measures nothing."""

from pipeline.evaluation.thresholds import cut
from pipeline.reporting.blocks import Text
from pipeline.reporting.citation import Phrase, cited, cited_share
from pipeline.runs.outcome import Outcome


def prior_lines(outcome: Outcome) -> tuple[Text, ...]:
    """What N(0, I) loses against the fitted prior, and how that was fitted; nothing where there is no fitted one."""
    if not outcome.fitted:
        return ()
    said = cut(outcome.facts["prior"])
    return Text(_gap(outcome)), Text(_fit(outcome)), *((Text(f"Cut: {said}."),) if said else ())


def _gap(outcome: Outcome) -> Phrase:
    """One line for whoever has not heard of priors."""

    def of(name: str, form: str) -> str:
        return cited(outcome, f"{outcome.split}/{name}", form=form)

    nats, fewer = of("neg_elbo", ".2f"), of("neg_elbo_expost", ".2f")
    metrics, split = outcome.metrics, outcome.split
    if f"{split}/conditional_accuracy" not in metrics:
        return Phrase(
            "Under N(0, I) the same model has a neg_elbo of ", nats, " nats; under the fitted prior ", fewer, "."
        )
    right, fitted = (
        cited_share(outcome, f"{outcome.split}/{name}")
        for name in ("conditional_accuracy", "conditional_accuracy_expost")
    )
    head = Phrase("Under N(0, I) the same model gets ", right, " of its images right, at ", nats, " nats: ")
    tail = Phrase(fitted, ", at ", fewer, " nats.")
    if metrics[f"{split}/conditional_accuracy_high"] < metrics[f"{split}/conditional_accuracy_low_expost"]:
        return Phrase(*head.parts, "its codes do not fill N(0, I). Sampling from where they are gets ", *tail.parts)
    if metrics[f"{split}/conditional_accuracy_high_expost"] < metrics[f"{split}/conditional_accuracy_low"]:
        return Phrase(*head.parts, "more than sampling from where its codes are, which gets ", *tail.parts)
    return Phrase(
        *head.parts, "no difference that can be told from sampling where its codes are, which gets ", *tail.parts
    )


def _fit(outcome: Outcome) -> Phrase:
    """What was tried on validation codes, and what was chosen."""
    facts = outcome.facts["prior"]
    each = " a class" if outcome.config.model.kind == "cvae" else ""
    number = facts["components"]
    what = (
        "N(0, I) itself: no mixture is nearer to the validation codes"
        if number == 0
        else f"one Gaussian{each}"
        if number == 1
        else f"a mixture of {number} Gaussians{each}"
    )
    tried: list[str] = []
    for components in sorted(facts["validation_kl"], key=int):
        kl = cited(outcome, f"facts/prior/validation_kl/{components}", form=".2f")
        tried += ["; ", "N(0, I) " if components == "0" else f"{components}: ", kl]
    return Phrase(
        f"The prior is {what}, fitted on the codes of ",
        cited(outcome, "facts/prior/images", form=",.0f"),
        " training images. kl of validation codes by the number of components, in nats: ",
        *tried[1:],
        "; of the prior as it is used ",
        cited(outcome, "facts/prior/kl", form=".2f"),
        ".",
    )
