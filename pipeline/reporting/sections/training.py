"""The section "Training": the curves of a run, and where its loss began and ended."""

from pipeline import plots
from pipeline.reporting.blocks import Figure, Section, Text
from pipeline.reporting.citation import Phrase, cited
from pipeline.runs.outcome import Outcome


def training_section(outcome: Outcome) -> Section:
    """Losses by epoch, and one sentence with the first, the last and the speed."""
    epochs = len(outcome.history)
    return Section(
        "Training",
        (
            Figure(
                "curves",
                plots.loss_curves({outcome.name: outcome.history}),
                "Loss of every epoch on training and validation images",
                "nats per image by epoch, with sampled z; lower is better, but for kl alone, the price of a low bce",
            ),
            Text(
                Phrase(
                    "Training loss went from ",
                    cited(outcome, "history/1/train/loss", form=".2f"),
                    " (epoch 1) to ",
                    cited(outcome, f"history/{epochs}/train/loss", form=".2f"),
                    f" (epoch {epochs}) nats per image, at ",
                    cited(outcome, f"history/{epochs}/train/images_per_second", form=",.0f"),
                    " images per second.",
                )
            ),
        ),
    )
