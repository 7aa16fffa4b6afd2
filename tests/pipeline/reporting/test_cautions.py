"""What stands before the numbers: each sentence where it is due, and none of a run that can be read as it is."""

from types import SimpleNamespace

import pytest

from pipeline.evaluation.thresholds import COLLAPSED_KL
from pipeline.reporting.blocks import Report, Section, Text
from pipeline.reporting.cautions import cautions
from pipeline.reporting.html import render_html
from pipeline.reporting.markdown import render_markdown

SOUND = {
    "neg_elbo": 99.0,
    "neg_elbo_expost": 96.0,
    "label_only_bce": 170.0,
    "kl": 20.0,
    "conditional_accuracy": 0.9,
    "conditional_accuracy_low": 0.89,
    "conditional_accuracy_expost": 0.98,
    "conditional_accuracy_low_expost": 0.975,
    "judge_accuracy": 0.99,
    "data_copying": 0.01,
    "data_copying_shape": 0.012,
    "data_copying_worst_class": 0.03,
    "data_copying_flagged": 0.0,
}


def run(history=(100.0, 99.9), gates=True, **changes):
    """An outcome with a fitted prior; changes by metric, None leaves one out."""
    scores = {name: value for name, value in (SOUND | changes).items() if value is not None}
    metrics = {f"test/{name}": value for name, value in scores.items()}
    return SimpleNamespace(
        key="0" * 64,
        split="test",
        scores=scores,
        metrics=metrics,
        history=[{"epoch": i, "val/neg_elbo": value} for i, value in enumerate(history, start=1)],
        facts={"gates": {"a": [["clean", 0.999, 0.994, gates]]}},
        scored=lambda name: f"test/{name}_expost" if f"test/{name}_expost" in metrics else f"test/{name}",
    )


def said(**changes):
    return [str(sentence) for sentence in cautions(run(**changes))]


def test_nothing_is_said_of_a_run_that_can_be_read_as_it_is():
    assert said() == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data_copying_flagged": 1.0, "data_copying_worst_class": 0.4}, "It may copy training images: 1.0% of its"),
        ({"kl": COLLAPSED_KL / 2}, "The latent code is unused: its rate is 0.250 nats an image"),
        ({"neg_elbo_expost": 171.0}, "It is worse than the class means: neg_elbo 171.00 nats"),
        ({"conditional_accuracy_expost": 0.2, "conditional_accuracy_low_expost": 0.1}, "Most samples are wrong: 20.0%"),
        (
            {"conditional_accuracy_expost": 0.999, "conditional_accuracy_low_expost": 0.995},
            "Its samples are easier to read than real images (99.9% against 99.0%)",
        ),
        (
            {"label_information": 0.0, "label_information_floor": 0.27},
            "The probe for labels in the latent code has too few images: leaks below 0.27 nats are read as none",
        ),
        ({"gates": False}, "The judge missed its gate (clean)"),
        ({"history": (110.0, 105.0)}, "Its training is unfinished: val/neg_elbo fell from 110.00 to 105.00 nats"),
    ],
)
def test_each_is_said_where_it_is_due_and_alone(changes, words):
    [sentence] = said(**changes)
    assert sentence.startswith(words)
    assert "\n" not in sentence


def test_one_small_class_that_makes_the_scores_of_all_coarse_is_named():
    found = run(coverage_images=12.0)
    found.config = SimpleNamespace(score=SimpleNamespace(per_class=1000))
    found.per_class = {"table": {"class": ["a", "rare " + "x" * 200, "b", "tiny"]}}
    counts = {"train": [900, 80, 900, 5], "val": [200, 12, 48, 3], "test": [90, 20, 90, 2]}
    found.facts["class_images"] = counts
    [sentence] = map(str, cautions(found))
    assert sentence.startswith("Coverage and diversity are taken on 12 images of each class, since rare xxxx")
    assert "half of the classes have 48 or more" in sentence
    assert len(sentence) < 300
    counts["val"] = [200, 12, 40, 3]
    assert not list(cautions(found)), "a class that is a little smaller than others"


def test_it_is_the_prior_that_is_scored_that_counts():
    assert said(conditional_accuracy=0.2, neg_elbo=180.0) == [], "under N(0, I), which is not scored"
    standard = {f"{name}_expost": None for name in ("neg_elbo", "conditional_accuracy", "conditional_accuracy_low")}
    assert len(said(conditional_accuracy=0.2, neg_elbo=180.0, **standard)) == 2


def test_a_model_without_labels_and_a_training_of_one_epoch_can_be_read():
    labels = {name: None for name in SOUND if name.startswith(("conditional", "judge"))}
    assert said(history=(120.0,), **labels) == []


def test_a_caution_stands_out_in_both_renderings():
    report = Report("r", "", (Section("Result", (Text("It <b>copies</b>.", caution=True), Text("As it is."))),))
    page = render_html(report)
    assert '<p class="caution"><strong>Beware.</strong> It &lt;b&gt;copies&lt;/b&gt;.</p>' in page
    assert "<p>As it is.</p>" in page
    assert "\n> **Beware.** It " in render_markdown(report)
