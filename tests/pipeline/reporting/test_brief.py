"""What the terminal says of a run, whichever model it is of."""

from types import SimpleNamespace

import pytest
from helpers import quick_config

from pipeline.reporting.brief import sentence


@pytest.mark.parametrize(
    ("kind", "metrics", "said"),
    [
        ("ae", {"bce": 20.5}, "It reconstructs images at 20.50 nats, and has no density to draw new ones from."),
        ("vae", {"bce": 20.5, "neg_elbo": 24.25}, "It takes no label; its bound is 24.25 nats an image."),
        (
            "cvae",
            {"bce": 9, "neg_elbo": 24.25},
            "No class has images enough for scores; its bound is 24.25 nats an image.",
        ),
        ("cvae", {"conditional_accuracy": 0.5}, "50.0% of its images are read as their label."),
    ],
)
def test_there_is_a_sentence_on_every_kind_of_model(kind, metrics, said):
    found = {f"test/{name}": value for name, value in metrics.items()}
    config = quick_config(model__kind=kind)
    assert sentence(SimpleNamespace(split="test", config=config, metrics=found, scored="test/{}".format)) == said
