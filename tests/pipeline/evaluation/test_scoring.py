"""Scores of generators that need no training: real images, shuffled labels, one image per class, noise."""

import dataclasses
import math

import pytest
import torch
from helpers import quick_config

from pipeline.data.splits import at, where
from pipeline.evaluation.metrics.neighbours import (
    covered,
    covered_and_without,
    covered_without,
    growth_of_coverage,
    knn_radii,
)
from pipeline.evaluation.reference import (
    build_reference,
    covered_per_class,
    images_per_class,
    reference_indices,
    reference_rows,
    smallest_of_splits,
    stratified_indices,
    too_small_classes,
)
from pipeline.evaluation.scoring import per_class_table, score_metrics, score_model
from pipeline.evaluation.thresholds import FEWEST_IMAGES
from pipeline.models.likelihoods import BERNOULLI
from pipeline.stages.context import Context
from pipeline.stages.judge import judge
from pipeline.store.home import Home

SCORE = quick_config().score


class Replay(torch.nn.Module):
    """A "model" that hands out given images of the asked class, each once, in a shuffled order."""

    latent_dim, likelihood = 2, BERNOULLI

    def __init__(self, images_by_class):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.stock = images_by_class
        self.classes = len(images_by_class)
        self.used = [0] * self.classes

    def decode(self, z, y):
        chosen = []
        for label in y.tolist():
            stock = self.stock[label]
            chosen.append(stock[self.used[label] % len(stock)])
            self.used[label] += 1
        return torch.stack(chosen).clamp(1e-6, 1 - 1e-6).logit()


@pytest.fixture(scope="module")
def judges(warm_root):
    return judge(Context(quick_config(), Home(warm_root, warm_root / "data"))).judges


@pytest.fixture(scope="module")
def reference(judges, digits):
    return build_reference(judges, digits, digits.test, SCORE)


@pytest.fixture(scope="module")
def real(digits):
    """Training images by class, shuffled."""
    order = torch.randperm(len(digits.train), generator=torch.Generator().manual_seed(9))
    x, y = digits.train.as_float(order), digits.train.labels[order]
    return [x[y == label] for label in range(digits.classes)]


@pytest.fixture(scope="module")
def scored(judges, reference, real):
    """Scores by kind of generator, as {metric: value}."""
    generator = torch.Generator().manual_seed(3)
    everything = torch.cat(real)
    mixed = everything[torch.randperm(len(everything), generator=generator)]
    generators = {
        "real": real,
        "one image per class": [images[:1] for images in real],
        "shuffled labels": list(mixed.split(len(mixed) // 10))[:10],
        "wrong by one": [*real[1:], real[0]],
        "noise": [torch.rand(150, 64, generator=generator) for _ in range(10)],
    }
    return {
        name: score_metrics(score_model(Replay(images), judges, reference, SCORE), reference, "test")
        for name, images in generators.items()
    }


def value(scored, name, quantity):
    return scored[name][f"test/{quantity}"]


def test_real_images_score_what_the_judge_reads_of_real_images(scored):
    ceiling = value(scored, "real", "judge_accuracy")
    assert ceiling > 0.9
    # 1,000 images: three standard errors of a rate near 0.97 are 0.016; training images are read a little better
    assert value(scored, "real", "conditional_accuracy") == pytest.approx(ceiling, abs=0.04)
    assert value(scored, "real", "conditional_accuracy_b") == pytest.approx(
        value(scored, "real", "judge_b_accuracy"), abs=0.06
    )


def test_real_images_cover_and_vary_like_real_images(scored):
    assert value(scored, "real", "coverage_relative") == pytest.approx(1, abs=0.05)
    assert value(scored, "real", "vendi_ratio") == pytest.approx(1, abs=0.1)


def test_shuffled_labels_are_read_at_chance_and_cover_little(scored):
    assert value(scored, "shuffled labels", "conditional_accuracy") == pytest.approx(0.1, abs=0.04)
    assert value(scored, "shuffled labels", "coverage_relative") < 0.6
    assert value(scored, "shuffled labels", "vendi_ratio") > 1.2  # a class of all digits is more varied than one digit


def test_one_image_per_class_is_right_and_neither_covers_nor_varies(scored):
    assert value(scored, "one image per class", "conditional_accuracy") >= 0.9
    assert value(scored, "one image per class", "coverage_relative") < 0.4
    assert value(scored, "one image per class", "vendi") == pytest.approx(1, abs=1e-4)


def test_a_cyclic_shift_of_the_labels_is_always_wrong(scored):
    assert value(scored, "wrong by one", "conditional_accuracy") < 0.05
    assert value(scored, "wrong by one", "conditional_accuracy_worst_class") == 0


def test_noise_covers_nothing(scored):
    assert value(scored, "noise", "coverage") < 0.05


def test_the_orderings_are_those_a_person_would_give(scored):
    coverage = {name: value(scored, name, "coverage_relative") for name in scored}
    assert coverage["real"] > coverage["shuffled labels"] > coverage["one image per class"]
    assert coverage["one image per class"] > coverage["noise"] - 0.05


def test_every_score_stands_beside_what_bounds_it(scored):
    for metrics in scored.values():
        low, mid, high = (metrics[f"test/conditional_accuracy{end}"] for end in ("_low", "", "_high"))
        assert 0 <= low <= mid <= high <= 1
        assert metrics["test/conditional_accuracy_worst_class"] <= mid
        assert metrics["test/coverage_relative"] == pytest.approx(
            metrics["test/coverage"] / metrics["test/coverage_real"]
        )


def test_unreadable_images_raise_the_vendi_score_and_not_that_of_the_read_ones(scored):
    assert value(scored, "real", "vendi_ratio_read") == pytest.approx(1, abs=0.1)
    assert value(scored, "shuffled labels", "vendi_ratio") > 1.2
    assert value(scored, "shuffled labels", "vendi_ratio_read") < 0.6
    assert value(scored, "wrong by one", "vendi_ratio_read") < 0.2


def test_the_size_is_that_of_the_smallest_class_of_all_splits_and_stands_beside_the_score(reference, digits, scored):
    smallest = min(int(part.labels.bincount().min()) for part in (digits.train, digits.val, digits.test))
    assert reference.per_class == smallest == images_per_class(digits, 1000)
    assert images_per_class(digits, 7) == 7
    assert reference.features.shape[1:3] == (10, smallest)
    assert value(scored, "real", "coverage_images") == smallest


def test_val_and_test_are_scored_at_one_size(judges, digits, reference):
    on_val = build_reference(judges, digits, digits.val, SCORE)
    assert on_val.per_class == reference.per_class
    assert float(on_val.coverage.mean()) == pytest.approx(float(reference.coverage.mean()), abs=0.06)


def test_draws_share_a_tenth_at_most_and_the_first_is_the_old_one():
    labels = torch.arange(10).repeat_interleave(torch.tensor([892, *[1000] * 9]))
    rows = reference_indices(labels, 452, range(10), seed=0)
    assert rows.shape == (2, 10, 452)
    assert torch.equal(rows[0], stratified_indices(labels, 452, 10, seed=0))
    assert all((labels[draw[c]] == c).all() for draw in rows for c in range(10))
    for c in range(10):
        assert len(set(rows[0, c].tolist()) & set(rows[1, c].tolist())) <= 45
    assert len(reference_indices(labels, 500, range(10), seed=0)) == 1
    assert len(reference_indices(labels, 20, range(10), seed=0)) == 5


def test_a_reference_of_several_draws_is_the_mean_of_them(judges, digits, real):
    config = dataclasses.replace(SCORE, per_class=12)
    several = build_reference(judges, digits, digits.train, config)
    assert several.draws == 5
    scores = score_model(Replay(real), judges, several, dataclasses.replace(SCORE, per_class=100))
    assert scores.covered.shape == (5, 10, 12)
    assert scores.covered_without.shape == (10, 5, 10, 12)
    assert float(scores.coverage.mean()) == pytest.approx(float(scores.covered.double().mean()))
    assert (scores.covered_without <= scores.covered).all(), "fewer images cover no more"


def test_leaving_a_tenth_out_is_scoring_the_rest(judges, digits, real):
    generator = torch.Generator().manual_seed(0)
    points, drawn = torch.randn(40, 3, generator=generator), torch.randn(30, 3, generator=generator)
    radii = knn_radii(points, 5)
    found = covered_without(points, radii, drawn, groups=10)
    for g in range(10):
        rest = drawn[[i for i in range(30) if i % 10 != g]]
        assert torch.equal(found[g], covered(points, radii, rest))


@pytest.mark.parametrize(("n", "m", "features"), [(452, 452, 96), (37, 31, 300), (12, 12, 1568)])
def test_whole_and_by_tenths_from_distances_taken_once(generator, n, m, features):
    points, drawn = torch.randn(n, features, generator=generator), torch.randn(m, features, generator=generator)
    drawn[: n // 4] = points[: n // 4]  # copies, at distance 0
    radii = knn_radii(points, 5)
    for groups in (1, 10):
        whole, without = covered_and_without(points, radii, drawn, groups=groups)
        assert torch.equal(whole, covered(points, radii, drawn))
        if groups == 10:
            rests = [drawn[[i for i in range(m) if i % groups != g]] for g in range(groups)]
            assert torch.equal(without, torch.stack([covered(points, radii, rest) for rest in rests]))
        else:
            assert not without.any()


def test_below_ten_images_a_class_there_is_no_score_of_coverage_or_diversity(judges, digits, real):
    config = dataclasses.replace(SCORE, per_class=FEWEST_IMAGES - 1)
    few = build_reference(judges, digits, digits.test, config)
    scores = score_model(Replay(real), judges, few, config)
    metrics = score_metrics(scores, few, "test")
    assert "test/conditional_accuracy" in metrics
    assert not [name for name in metrics if "coverage" in name or "vendi" in name]
    assert set(per_class_table(scores, few, digits.class_names)) == {"class", "conditional_accuracy", "low", "high"}
    enough = build_reference(judges, digits, digits.test, dataclasses.replace(SCORE, per_class=FEWEST_IMAGES))
    assert enough.enough


def test_coverage_in_real_images_runs_from_none_to_all(reference):
    curve = reference.growth
    assert len(curve) == reference.per_class
    assert (curve.diff() >= 0).all()
    assert reference.equivalent(0.0) == 0
    assert reference.equivalent(float(curve[-1])) == reference.equivalent(1.0) == 1
    for m in (1, 5, reference.per_class // 2):
        assert reference.equivalent(float(curve[m - 1])) == pytest.approx(m / reference.per_class)
    between = float(curve[4] + curve[5]) / 2
    assert reference.equivalent(between) == pytest.approx(5.5 / reference.per_class)


def test_samples_that_are_worth_nothing_take_their_share(reference):
    """Of one distribution, so many features of so many classes that chance is small."""
    generator = torch.Generator().manual_seed(0)

    def drawn(n):
        return torch.randn(30, n, 8, generator=generator)

    real, others = drawn(100), drawn(100)
    radii = torch.stack([knn_radii(f, 5) for f in real])
    growth = torch.stack([growth_of_coverage(*part) for part in zip(real, radii, drawn(100), strict=True)]).mean(0)
    against = dataclasses.replace(reference, features=real[None], growth=growth)
    for share in (0.25, 0.5, 0.75, 0.9):
        useless = round(share * 100)
        samples = torch.cat([others[:, :1].expand(-1, useless, -1), others[:, useless:]], 1)
        coverage = float(covered_per_class(real, radii, samples).double().mean())
        assert against.equivalent(coverage) == pytest.approx(1 - share + 0.01, abs=0.06)
    assert coverage / float(growth[-1]) > 0.35, "of coverage a third is left where a tenth of the samples is worth it"


def test_the_rows_beside_a_score_are_a_scale(judges, reference, digits):
    rows = {row["images"]: row for row in reference_rows(judges, reference, digits, digits.test, SCORE)}
    half = reference.per_class // 2
    first = f"real images of this split, {half} a class"
    assert next(iter(rows)) == first
    real, whole, replaced, few, one, shuffled, means, noise = rows.values()
    assert real["coverage_relative"] == pytest.approx(1, abs=0.15)
    assert real["coverage"] < 0.995, "halves that share no image"
    assert whole["coverage_relative"] == pytest.approx(1, abs=0.03)
    falling = [row["coverage_relative"] for row in (whole, replaced, few, one, noise)]
    assert falling == sorted(falling, reverse=True)
    assert one["vendi_ratio_read"] < 0.2
    assert shuffled["conditional_accuracy"] < 0.2
    assert means["conditional_accuracy"] > 0.8


def test_the_real_coverage_is_that_of_other_real_images_not_of_the_reference_itself(reference):
    N, k = reference.per_class, SCORE.neighbours  # Naeem et al. 2020, for equal distributions and N = M
    missed = math.prod((N - i) / (2 * N - i) for i in range(1, k + 1))
    assert float(reference.coverage.mean()) == pytest.approx(1 - missed, abs=0.03)
    assert float(reference.coverage.mean()) < 1


def test_fewer_samples_than_reference_images_shrink_the_reference(judges, digits, real):
    config = dataclasses.replace(SCORE, per_class=3)
    few = build_reference(judges, digits, digits.test, config)
    assert few.per_class == 3
    scores = score_model(Replay(real), judges, few, config)
    assert scores.covered.shape[1:] == (10, 3)
    assert 0 <= scores.coverage.mean() <= 1


def test_stratified_indices_are_of_their_class_without_repeats_and_grow_by_adding(digits):
    labels = digits.train.labels
    rows = stratified_indices(labels, 20, 10, seed=0)
    assert rows.shape == (10, 20)
    for label, row in enumerate(rows):
        assert (labels[row] == label).all()
        assert len(set(row.tolist())) == 20
    assert torch.equal(stratified_indices(labels, 5, 10, seed=0), rows[:, :5])
    assert not torch.equal(stratified_indices(labels, 20, 10, seed=1), rows)


def test_the_per_class_table_has_a_row_for_every_class_that_averages_to_the_totals(judges, reference, real, digits):
    scores = score_model(Replay(real), judges, reference, SCORE)
    table = per_class_table(scores, reference, digits.class_names)
    assert all(len(column) == 10 for column in table.values())
    metrics = score_metrics(scores, reference, "test")
    mean = {name: sum(column) / 10 for name, column in table.items() if name != "class"}
    assert mean["conditional_accuracy"] == pytest.approx(metrics["test/conditional_accuracy"])
    assert mean["coverage"] == pytest.approx(metrics["test/coverage"])
    assert mean["vendi"] == pytest.approx(metrics["test/vendi"])
    assert min(table["conditional_accuracy"]) == metrics["test/conditional_accuracy_worst_class"]
    assert all(
        low <= a <= high
        for low, a, high in zip(table["low"], table["conditional_accuracy"], table["high"], strict=True)
    )


def test_a_class_too_small_to_score_leaves_the_others_the_scores_they_had(judges, digits, real):
    """Class 3 has four test images: its coverage is not known, and the others' is not that of four images."""
    few = (digits.test.labels == 3).nonzero().squeeze(1)[4:]
    kept = torch.ones(len(digits.test), dtype=torch.bool)
    kept[few] = False
    data = dataclasses.replace(digits, test=where(digits.test, kept))
    assert too_small_classes(data) == [3]
    assert images_per_class(data, 1000) == min(n for i, n in enumerate(smallest_of_splits(digits)) if i != 3)
    reference = build_reference(judges, data, data.test, SCORE)
    assert reference.classes == (0, 1, 2, 4, 5, 6, 7, 8, 9)
    scores = score_model(Replay(real), judges, reference, SCORE)
    table = per_class_table(scores, reference, data.class_names)
    assert [name for name, value in zip(table["class"], table["coverage"], strict=True) if value is None] == ["3"]
    assert table["vendi_real"][3] is None
    assert table["conditional_accuracy"][3] > 0.9
    metrics = score_metrics(scores, reference, "test")
    assert metrics["test/coverage"] == pytest.approx(sum(v for v in table["coverage"] if v is not None) / 9)
    rows = reference_rows(judges, reference, data, data.test, SCORE)
    assert rows[1]["coverage_relative"] == pytest.approx(1, abs=0.05)
    assert rows[1]["conditional_accuracy"] > 0.9


def test_where_every_class_is_too_small_nothing_is_scored_and_nothing_fails(judges, digits, real):
    rows = stratified_indices(digits.test.labels, 1, 10, seed=0).flatten()
    data = dataclasses.replace(digits, test=at(digits.test, rows))
    reference = build_reference(judges, data, data.test, SCORE)
    assert (reference.per_class, reference.enough, len(reference.classes)) == (1, False, 10)
    scores = score_model(Replay(real), judges, reference, SCORE)
    assert "test/coverage" not in score_metrics(scores, reference, "test")
    assert "coverage" not in per_class_table(scores, reference, data.class_names)
    found = reference_rows(judges, reference, data, data.test, SCORE)
    assert not any("coverage" in row for row in found)
