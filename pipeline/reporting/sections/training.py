"""The training of a run: its curves."""

from pipeline import plots
from pipeline.reporting.blocks import Figure, Text
from pipeline.reporting.citation import Phrase, cited
from pipeline.runs.outcome import Outcome


def training_section(outcome: Outcome) -> tuple[Figure | Text, ...]:
    epochs = len(outcome.history)
    return (
        Figure(
            "curves",
            plots.loss_curves({outcome.name: outcome.history}),
            "Loss of every epoch on training and validation images",
            "nats per image by epoch, with sampled z",
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
    )
