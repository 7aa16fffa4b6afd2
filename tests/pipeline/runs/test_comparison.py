"""Runs as pairs: what is compared, what is not, and what the intervals mean."""

import json
import re
from statistics import NormalDist

import numpy as np
import pytest
import torch
from helpers import quick_config
from safetensors.torch import load_file
from scipy import stats

from pipeline.errors import ConfigError
from pipeline.evaluation.metrics.neighbours import covered, covered_without, knn_radii
from pipeline.reporting.comparison import comparison_report
from pipeline.reporting.side_by_side import lines, markdown
from pipeline.runs.comparison import CAVEAT, Z95, Items, compare_runs, paired_items
from pipeline.runs.comparison import difference as difference_of
from pipeline.runs.execute import execute
from pipeline.runs.outcome import find_run
from pipeline.stages.context import Context
from pipeline.stages.graph import SCORE


@pytest.fixture
def outcome(warm_home):
    def build(split="test", **settings):
        return execute(Context(quick_config(**settings), warm_home), split)

    return build


def difference(first, second, better):
    return difference_of(Items(first), Items(second), better)


def row(comparison, key):
    return next(r for r in comparison.rows if r.key == key)


def test_nats_of_another_likelihood_are_left_out_and_everything_else_is_compared(outcome, warm_home):
    runs = [outcome(train__epochs=1), outcome(train__epochs=1, model__likelihood="gaussian")]
    comparison = compare_runs(warm_home, runs)
    for key in ("test/neg_elbo", "test/neg_elbo_expost", "test/bce", "test/entropy_floor"):
        assert row(comparison, key).values[1] is None, key
        assert row(comparison, key).differences == (None,), key
    assert not [r.key for r in comparison.rows if "distortion" in r.key]
    html = comparison_report(comparison, runs)
    [images] = [section for section in html.sections if section.title == "Images"]
    shown = [{name for name, _ in tile.values} for tile in images.blocks[0].tiles]
    assert {"neg_elbo_expost", "bce"} <= shown[0]
    assert not {name for name in shown[1] if "elbo" in name or "distortion" in name}
    assert "conditional_accuracy_expost" in shown[1]
    [metrics] = [section.blocks[0] for section in html.sections if section.title == "Metrics in pairs"]
    assert [cells[2] for cells in metrics.rows if cells[0] == "test/neg_elbo ↓"] == ["-"]
    assert row(comparison, "test/neg_elbo").values[0] == runs[0].metrics["test/neg_elbo"]
    accuracy = row(comparison, "test/conditional_accuracy")
    assert None not in (*accuracy.values, *accuracy.differences)
    assert "nats of another likelihood" in comparison.caveat
    assert runs[1].name in comparison.caveat
    same = compare_runs(warm_home, [runs[1], runs[1]])
    assert row(same, "test/distortion").differences[0].mean == 0
    assert same.caveat == CAVEAT

    # The numbers of a density have names and a floor of their own.
    own = runs[1].metrics
    assert not {key for key in own if "bce" in key or "entropy" in key}
    assert own["test/distortion"] > own["test/distortion_floor"]
    assert own["test/excess_distortion"] == pytest.approx(own["test/distortion"] - own["test/distortion_floor"])
    assert "val/distortion" in runs[1].history[-1]
    assert "gaussian" in runs[1].name


# ---- one difference


def test_the_interval_is_that_of_a_paired_normal_test(generator):
    first = torch.randn(400, generator=generator, dtype=torch.float64)
    second = first + 0.1 + 0.5 * torch.randn(400, generator=generator, dtype=torch.float64)
    found = difference(first, second, "lower")
    delta = (second - first).numpy()
    low, high = stats.norm.interval(0.95, loc=delta.mean(), scale=stats.sem(delta))
    assert (found.mean, found.low, found.high) == pytest.approx((delta.mean(), low, high))
    assert NormalDist().inv_cdf(0.975) == pytest.approx(Z95, abs=1e-6)


@pytest.mark.parametrize(
    ("shift", "better", "verdict"),
    [
        (+1, "higher", "better"),
        (-1, "higher", "worse"),
        (+1, "lower", "worse"),
        (-1, "lower", "better"),
        (+1, "", "higher"),
        (-1, "", "lower"),
        (0, "lower", "undecided"),
    ],
)
def test_the_verdict_follows_the_direction_of_the_metric(shift, better, verdict, generator):
    first = torch.randn(500, generator=generator, dtype=torch.float64)
    noise = torch.randn(500, generator=generator, dtype=torch.float64)
    noise = (noise - noise.mean()) * 0.1
    assert difference(first, first + noise + shift, better).verdict == verdict


def test_equal_runs_are_undecided():
    same = torch.arange(10.0, dtype=torch.float64)
    found = difference(same, same, "higher")
    assert (found.mean, found.low, found.high, found.verdict) == (0, 0, 0, "undecided")


def test_pairing_finds_what_separate_intervals_would_hide(generator):
    images = 10 * torch.randn(1000, generator=generator, dtype=torch.float64)  # images differ far more than models
    second = images + 0.2 + 0.5 * torch.randn(1000, generator=generator, dtype=torch.float64)
    assert difference(images, second, "lower").verdict == "worse"
    assert stats.ttest_ind(images.numpy(), second.numpy()).pvalue > 0.05


def test_about_one_in_twenty_equal_pairs_is_decided_wrongly(generator):
    pairs = torch.randn(2, 2000, 200, generator=generator, dtype=torch.float64)
    decided = sum(difference(a, b, "higher").verdict != "undecided" for a, b in zip(*pairs, strict=True))
    assert decided / 2000 == pytest.approx(0.05, abs=0.02)


def test_items_that_are_not_pairs_have_no_difference():
    assert difference(torch.zeros(3), torch.zeros(4), "higher") is None


def gaussian_world(rng, spread, shared, n, features=6):
    """Real and generated points of one class; the noise of two "models" is correlated, as that of one z is."""

    def noise():
        return rng.normal(size=(n, features))

    common = noise()
    generated = [s * (shared * common + (1 - shared**2) ** 0.5 * noise()) for s in spread]
    return torch.tensor(noise(), dtype=torch.float32), [torch.tensor(g, dtype=torch.float32) for g in generated]


@pytest.mark.slow
@pytest.mark.parametrize(("spread", "shared"), [((0.8, 0.8), 0), ((0.9, 0.6), 1)])
def test_the_interval_of_a_difference_in_coverage_covers_it(spread, shared):
    """Truth: the mean difference over real and generated samples. Over the real images alone it covers less."""
    rng = np.random.default_rng(0)
    n, classes, draws = 60, 5, 200
    found, alone, means = [], [], []
    for _ in range(draws):
        items, plain = [], []
        worlds = [gaussian_world(rng, spread, shared, n) for _ in range(classes)]
        for model in range(2):
            radii = [knn_radii(real, 5) for real, _ in worlds]
            inside = torch.cat([covered(r, b, g[model]) for (r, g), b in zip(worlds, radii, strict=True)])
            without = torch.cat(
                [covered_without(r, b, g[model], groups=10) for (r, g), b in zip(worlds, radii, strict=True)], 1
            )
            items.append(Items(inside.double(), without.double()))
            plain.append(Items(inside.double()))
        found.append(difference_of(*items, "higher"))
        alone.append(difference_of(*plain, "higher"))
        means.append(found[-1].mean)
    truth = float(np.mean(means))
    covers = [np.mean([d.low <= truth <= d.high for d in some]) for some in (found, alone)]
    assert covers[0] == pytest.approx(0.95, abs=0.03)
    assert covers[1] <= covers[0]


def test_two_numbers_of_different_size_are_not_put_side_by_side(outcome, warm_home):
    first, same, other = outcome(), outcome(train__beta=4.0), outcome(score__per_class=12)
    comparison = compare_runs(warm_home, [first, same, other])
    for name in ("coverage", "coverage_relative_expost", "vendi_ratio_read", "coverage_real"):
        values = row(comparison, f"test/{name}").values
        assert (values[0] is None, values[1] is None, values[2]) == (False, False, None)
    assert None not in row(comparison, "test/conditional_accuracy").values
    assert f"Coverage and Vendi scores of {other.name} are left out" in comparison.caveat
    assert compare_runs(warm_home, [first, same]).caveat == CAVEAT


# ---- whole runs


def test_the_mean_difference_of_a_metric_is_the_difference_of_its_means(outcome, warm_home):
    first, second = outcome(), outcome(train__beta=8.0)
    comparison = compare_runs(warm_home, [first, second])
    assert comparison.names == (first.name, second.name)
    for key in ("test/neg_elbo", "test/bce", "test/kl", "test/conditional_accuracy", "test/coverage"):
        found = row(comparison, key)
        assert found.values == (first.metrics[key], second.metrics[key])
        assert found.differences[0].mean == pytest.approx(second.metrics[key] - first.metrics[key], abs=1e-5)
    assert row(comparison, "test/kl").differences[0].verdict == "lower"
    assert row(comparison, "test/judge_accuracy").differences == (None,)
    for name in ("coverage_relative", "vendi_ratio", "vendi_ratio_read"):
        key = f"test/{name}_expost"
        found = row(comparison, key).differences[0]
        assert found.mean == pytest.approx(second.metrics[key] - first.metrics[key], abs=1e-6)
        assert found.low < found.mean < found.high
    plain, relative = (row(comparison, f"test/{name}").differences[0] for name in ("coverage", "coverage_relative"))
    assert relative.verdict == plain.verdict
    assert relative.low == pytest.approx(plain.low / first.metrics["test/coverage_real"])
    assert {r.key for r in comparison.rows} == set(first.metrics)
    for width in (50, 80):
        shown = list(lines(comparison, width))
        assert max(map(len, shown)) <= width
        text = "\n".join(shown)
        order = [text.index(word) for word in ("what differs", "train.beta", "objectives", "everything else", "in all")]
        assert order == sorted(order)
        objectives = text[order[2] : order[3]]
        for key in comparison.objectives:
            assert re.search(rf"{key.partition('/')[2]}\b[^\n]*(\n[^\n]*){{0,2}}\[", objectives), key
        assert not re.search(r"^vendi(_real)?\b", text, re.MULTILINE), "its ratio is not vendi_ratio"
        assert "entropy_floor" in text[order[4] :]
    written = markdown(comparison)
    assert written.index("| setting |") < written.index("| objective |") < written.index("| metric |")
    assert "entropy_floor |" not in written


def test_a_run_beside_itself_is_undecided_everywhere(outcome, warm_home):
    run = outcome()
    differences = [d for r in compare_runs(warm_home, [run, run]).rows for d in r.differences if d]
    assert len(differences) == 8 + 7  # the same under the fitted prior, except bce, which no prior changes
    assert all((d.mean, d.verdict) == (0, "undecided") for d in differences)
    comparison = compare_runs(warm_home, [run, run])
    assert comparison.itself == (run.name,)
    assert f"{run.name} is held against itself: every difference is 0." in "\n".join(lines(comparison, 200))


def test_of_ten_classes_the_interval_is_students():
    ratios = np.linspace(0.8, 1.2, 10)
    found = difference(np.ones(10), ratios, "")
    low, high = stats.t.interval(0.95, 9, loc=ratios.mean() - 1, scale=stats.sem(ratios))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_the_paired_items_average_to_the_metrics(outcome, warm_home):
    run = outcome()
    items = paired_items(warm_home, run)
    for name, key in [("bce", "bce"), ("kl", "kl"), ("neg_elbo", "neg_elbo"), ("coverage", "coverage")]:
        assert float(items[name].values.mean()) == pytest.approx(run.metrics[f"test/{key}"], rel=1e-5)
    assert float(items["accuracy"].values.mean()) == pytest.approx(run.metrics["test/conditional_accuracy"])
    folder = warm_home.store.path("score", SCORE.key(run.config, "test"))
    assert len(load_file(folder / "per_sample.safetensors")["predicted"]) == len(items["accuracy"].values)


def test_three_runs_are_held_against_the_first(outcome, warm_home):
    runs = [outcome(), outcome(train__seed=1), outcome(train__seed=2)]
    found = row(compare_runs(warm_home, runs), "test/bce")
    assert [d.mean for d in found.differences] == pytest.approx(
        [r.metrics["test/bce"] - runs[0].metrics["test/bce"] for r in runs[1:]], abs=1e-5
    )


def test_a_metric_that_a_run_does_not_have_is_empty_and_has_no_difference(outcome, warm_home):
    comparison = compare_runs(warm_home, [outcome(), outcome(model__kind="ae")])
    for key in ("test/neg_elbo", "test/kl", "test/conditional_accuracy"):
        assert row(comparison, key).values[1] is None
        assert row(comparison, key).differences == (None,)
    assert row(comparison, "test/bce").differences[0] is not None
    for text in ("\n".join(lines(comparison, 500)), markdown(comparison)):
        [alone] = [line for line in text.splitlines() if line.startswith("Measured of A alone: ")]
        assert ", coverage 0." in alone or ", coverage 1." in alone
        assert "\ncoverage " not in text


def test_scores_of_other_judges_or_other_reference_images_are_no_pairs(outcome, warm_home):
    first = outcome()
    for other in (outcome(judge__epochs=2), outcome(score__seed=1)):
        comparison = compare_runs(warm_home, [first, other])
        assert row(comparison, "test/conditional_accuracy").differences == (None,)
        assert row(comparison, "test/coverage").differences == (None,)
        assert row(comparison, "test/bce").differences[0].verdict == "undecided"


def test_likelihoods_under_other_noise_are_no_pairs(outcome, warm_home):
    comparison = compare_runs(warm_home, [outcome(), outcome(evaluate__seed=1)])
    assert row(comparison, "test/bce").differences == (None,)
    assert row(comparison, "test/conditional_accuracy").differences[0] is not None


def test_the_document_is_plain_json(outcome, warm_home):
    document = json.loads(json.dumps(compare_runs(warm_home, [outcome(), outcome(train__seed=1)]).document()))
    assert {"caveat", "names", "rows", "differs", "objectives", "split", "itself"} == document.keys()
    assert document["differs"] == [["train.seed", [0, 1]]]
    assert sorted(document["rows"][0]) == ["differences", "key", "values"]
    assert "training seeds" in document["caveat"]


def test_one_run_alone_is_refused(outcome, warm_home):
    with pytest.raises(ConfigError, match="compare needs two runs or more"):
        compare_runs(warm_home, [outcome()])


def test_runs_on_other_images_are_refused(outcome, warm_home):
    first = outcome()
    with pytest.raises(ConfigError, match="were not opened on the same images"):
        compare_runs(warm_home, [first, outcome("val")])
    with pytest.raises(ConfigError, match="were not opened on the same images"):
        compare_runs(warm_home, [first, outcome(data__split_seed=1)])


def test_an_unknown_or_ambiguous_run_is_refused_with_what_there_is(outcome, warm_home):
    with pytest.raises(ConfigError, match=r"there is no run 'nope'; finished runs are none yet"):
        find_run(warm_home, "nope")
    first, second = outcome(), outcome(train__seed=1)
    with pytest.raises(ConfigError, match="there is no run 'nope'") as error:
        find_run(warm_home, "nope")
    assert first.name in str(error.value)
    assert second.name in str(error.value)
    with pytest.raises(ConfigError, match="'digits' fits 2 runs"):
        find_run(warm_home, "digits")


def test_the_same_samples_are_judged_in_every_run(outcome, warm_home):
    sizes = {len(paired_items(warm_home, outcome(model__latent_dim=z))["accuracy"].values) for z in (2, 4)}
    assert sizes == {10 * np.int64(quick_config().score.per_class)}
