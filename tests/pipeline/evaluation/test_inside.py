"""Inside a model: every picture is what decoding by hand gives, every number is one that the scores have as well."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import quick_config
from PIL import Image
from sklearn.decomposition import PCA

from pipeline.evaluation.inside import (
    OFFSETS,
    STEPS,
    base_code,
    between_images,
    between_labels,
    image_pairs,
    look_inside,
    misread,
    plane,
    traversals,
)
from pipeline.evaluation.metrics.latent import active_units
from pipeline.models.autoencoder import Autoencoder
from pipeline.models.sampling import generation_grid, reconstructions
from pipeline.reporting.blocks import Figure, Report, Section
from pipeline.reporting.html import render_html
from pipeline.reporting.markdown import render_markdown
from pipeline.reporting.run import run_report
from pipeline.reporting.sections.inside import inside_section
from pipeline.runs.execute import execute, set_up_process
from pipeline.runs.outcome import load_outcome
from pipeline.stages.context import Context
from pipeline.stages.graph import INSIDE
from pipeline.stages.inside import inside
from pipeline.stages.judge import judge
from pipeline.store.files import read_json
from pipeline.store.store import MANIFEST

KINDS = ("ae", "vae", "cvae")


def build(kind: str, latent_dim: int = 5) -> Autoencoder:
    torch.manual_seed(0)
    model = Autoencoder(kind, pixels=64, classes=10, latent_dim=latent_dim, hidden=(32,))
    with torch.no_grad():  # codes and images that differ, as those of a trained model do
        for parameter in model.parameters():
            parameter.mul_(3)
    return model.eval()


@torch.inference_mode()
def decode(model, z, y):
    return model.decode(z, y).sigmoid()


# ---- pictures


@pytest.mark.parametrize("kind", KINDS)
def test_a_traversal_at_0_is_the_base_code_and_elsewhere_one_dimension_alone_has_moved(kind, digits):
    model = build(kind)
    mu, _ = model.encode(digits.test.as_float(), digits.test.labels)
    base, unit = base_code(mu, stochastic=model.stochastic)
    rows = traversals(model, base, unit, [3, 0], 7).unflatten(0, (2, len(OFFSETS)))
    label = torch.tensor([7])
    for row in rows:
        torch.testing.assert_close(row[OFFSETS.index(0)], decode(model, base[None], label)[0])
    for row, dim in zip(rows, (3, 0), strict=True):
        z = base.clone()
        z[dim] += 3 * unit[dim]
        torch.testing.assert_close(row[-1], decode(model, z[None], label)[0])
        assert not torch.equal(row[-1], row[0])


def test_the_base_code_is_the_centre_of_the_prior_and_without_a_prior_that_of_the_codes():
    mu = torch.randn(50, 3) * 4 + 2
    assert [t.tolist() for t in base_code(mu, stochastic=True)] == [[0, 0, 0], [1, 1, 1]]
    base, unit = base_code(mu, stochastic=False)
    torch.testing.assert_close((base, unit), (mu.mean(0), mu.std(0, correction=0)))


@pytest.mark.parametrize("kind", KINDS)
def test_an_interpolation_runs_from_one_reconstruction_to_the_other_between_the_two_images(kind, digits):
    model, part = build(kind), digits.test
    pairs = image_pairs(part.labels, 10, same_class=model.conditional)
    rows = between_images(model, part, pairs).unflatten(0, (10, STEPS + 2))
    for end, (image, reconstruction) in ((0, (0, 1)), (1, (-1, -2))):
        x = part.as_float(pairs[:, end])
        assert torch.equal(rows[:, image], x)
        torch.testing.assert_close(rows[:, reconstruction], reconstructions(model, x, part.labels[pairs[:, end]]))


def test_pairs_are_of_one_class_for_a_model_that_is_told_it_and_of_two_for_others():
    labels = torch.tensor([2, 0, 1, 0, 2, 2, 4])  # nobody has class 3
    assert image_pairs(labels, 5, same_class=True).tolist() == [[1, 3], [2, 2], [0, 5], [6, 6]]
    assert image_pairs(labels, 5, same_class=False).tolist() == [[1, 2], [2, 0], [0, 6], [6, 1]]


def test_between_labels_each_end_is_its_label():
    model = build("cvae")
    z, turns = torch.randn(5), [(0, 1), (9, 4)]
    rows = between_labels(model, z, turns).unflatten(0, (2, STEPS))
    for row, turn in zip(rows, turns, strict=True):
        torch.testing.assert_close(row[[0, -1]], decode(model, z.expand(2, -1), torch.tensor(turn)))


def test_between_labels_starts_at_the_first_column_of_the_generated_grid(digits):
    model = build("cvae")
    found = look_inside(model, digits, digits.test, None, per_class=2, seed=0)
    first = torch.from_numpy(np.array(found.sheets["between_labels"])[:, :8])
    grid = generation_grid(model).unflatten(0, (10, 10))[:, 0].view(10, 8, 8)
    expected = (grid * 255).round().to(torch.uint8)
    assert all((first[9 * row : 9 * row + 8].int() - expected[row].int()).abs().max() <= 1 for row in range(10))


def test_what_is_not_defined_is_left_out(digits):
    found = {kind: look_inside(build(kind), digits, digits.test, None, per_class=2, seed=0) for kind in KINDS}
    always = {"traversals", "between_images"}
    assert {kind: set(f.sheets) - always for kind, f in found.items()} == {
        "ae": set(),
        "vae": set(),
        "cvae": {"class_traversals", "between_labels"},
    }
    assert {kind: f.facts["kl_per_dim"] is None for kind, f in found.items()} == {
        "ae": True,
        "vae": False,
        "cvae": False,
    }
    assert found["vae"].facts["traversals"]["label"] is None
    assert look_inside(build("vae", 1), digits, digits.test, None, per_class=2, seed=0).points is None


def test_traversed_are_the_active_dimensions_by_falling_variance(digits):
    model = build("vae")
    with torch.no_grad():
        model.encoder[-1].weight[1] = 0  # the mean of dimension 1 no longer varies
        model.encoder[-1].weight[4] *= 9
    facts = look_inside(model, digits, digits.test, None, per_class=2, seed=0).facts
    mu, _ = model.encode(digits.test.as_float(), digits.test.labels)
    assert len(facts["traversals"]["dims"]) == active_units(mu) == 4
    assert facts["traversals"]["dims"] == mu.var(0).argsort(descending=True).tolist()[:4]
    assert facts["traversals"]["dims"][0] == 4


# ---- the map


def test_the_map_of_two_dimensions_is_the_codes_themselves(generator):
    mu = torch.randn(40, 2, generator=generator)
    flat = plane(mu)
    assert torch.equal(flat.points, mu)
    assert flat.explained is None


@pytest.mark.parametrize("shape", [(200, 7), (30, 3), (5, 20)])
def test_the_map_of_more_is_the_pca_of_scikit_learn(generator, shape):
    mu = torch.randn(shape, generator=generator) * torch.arange(1, shape[1] + 1) + 5
    flat, reference = plane(mu), PCA(2).fit(mu.double().numpy())
    expected = reference.transform(mu.double().numpy())
    signs = np.sign((flat.points.numpy() * expected).sum(0))
    np.testing.assert_allclose(flat.points.numpy() * signs, expected, atol=1e-8)
    np.testing.assert_allclose(flat.explained, reference.explained_variance_ratio_, rtol=1e-8)


def test_codes_that_never_vary_have_a_map(digits):
    flat = plane(torch.ones(5, 4))
    assert flat.points.abs().max() == 0
    assert flat.explained == (0, 0)


# ---- the most wrong samples


def test_misread_are_those_read_as_another_class_the_most_confident_first(generator):
    logits, asked = torch.randn(200, 6, generator=generator) * 3, torch.randint(6, (200,), generator=generator)
    found = misread(logits, asked)
    probabilities = logits.double().softmax(1)
    wrong = [i for i in range(200) if int(probabilities[i].argmax()) != int(asked[i])]
    assert sorted(found.index.tolist()) == wrong
    assert found.index.tolist() == sorted(wrong, key=lambda i: -float(probabilities[i].max()))
    torch.testing.assert_close(found.probability, probabilities.max(1).values[found.index])
    assert torch.equal(found.read, probabilities.argmax(1)[found.index])
    assert len(misread(torch.eye(3), torch.arange(3)).index) == 0


# ---- the stage


@pytest.fixture
def context(warm_home):
    def build(**settings):
        return Context(quick_config(**settings), warm_home, force=set())

    return build


def test_the_stage_agrees_with_the_scores_of_the_run(context):
    ctx = context()
    outcome = execute(ctx, "test")
    facts = read_json(outcome.inside / "inside.json")
    assert sum(facts["kl_per_dim"]) == pytest.approx(outcome.metrics["test/kl"], rel=1e-5)
    confusion = np.array(outcome.per_class["confusion"])
    wrong = facts["most_wrong"]
    assert wrong["generated"] == confusion.sum()
    assert wrong["misread"] == confusion.sum() - confusion.trace() > 0


def test_the_most_wrong_images_are_read_by_the_judge_as_said(context):
    ctx = context()
    folder = inside(ctx, "test").folder
    about = read_json(folder / "inside.json")["most_wrong"]
    with Image.open(folder / "most_wrong.png") as image:
        sheet = np.array(image)
    cells = [sheet[9 * (i // 4) :, 9 * (i % 4) :][:8, :8].flatten() for i in range(len(about["asked"]))]
    images = torch.from_numpy(np.stack(cells)).float() / 255
    probability, read = judge(ctx).judges.a(images).softmax(1).max(1)
    clear = probability > 0.6  # a PNG has 256 greys: a reading on the edge may turn
    assert read[clear].tolist() == torch.tensor(about["read"])[clear].tolist()
    assert all(a != r for a, r in zip(about["asked"], about["read"], strict=True))
    assert about["probability"] == sorted(about["probability"], reverse=True)
    torch.testing.assert_close(probability, torch.tensor(about["probability"]), atol=0.05, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_model_gives_the_same_files(context, kind):
    ctx = context(model__kind=kind)
    files = []
    for _ in range(2):
        ctx.force.add("inside")
        files.append(read_json(inside(ctx, "test").folder / MANIFEST)["files"])
    assert files[0] == files[1]
    assert "traversals.png" in files[0]


def test_a_trial_is_not_looked_into_and_a_run_on_test_is(context, warm_home):
    ctx = context()
    assert execute(ctx, "val").inside is None
    assert list(warm_home.store.keys("inside")) == []
    assert execute(ctx, "test").inside.is_dir()


def test_a_run_older_than_the_stage_loads_and_reports_and_has_it_once_it_is_repeated(context, warm_home):
    ctx = context()
    before = execute(ctx, "test")
    shutil.rmtree(warm_home.store.path("inside", INSIDE.key(ctx.config, "test")))
    old = load_outcome(warm_home, before.key)
    assert old == replace(before, inside=None)
    assert inside_section(old).blocks == ()
    assert "Inside the model" not in render_markdown(run_report(old))
    again = execute(ctx, "test")
    assert again == before
    assert "Inside the model" in render_markdown(run_report(again))


# ---- the section


@pytest.mark.parametrize(
    "settings", [{"model__kind": kind} for kind in KINDS] + [{"model__latent_dim": n} for n in (1, 2)]
)
def test_every_model_has_the_section_with_what_is_defined_for_it(context, settings):
    outcome = execute(context(**settings), "test")
    section = inside_section(outcome)
    names = [block.name for block in section.blocks if isinstance(block, Figure)]
    kind, latent_dim = outcome.config.model.kind, outcome.config.model.latent_dim
    expected = ["kl-per-dim"] * (kind != "ae") + ["traversals"] + ["class-traversals"] * (kind == "cvae")
    expected += ["between-images"] + ["between-labels"] * (kind == "cvae") + ["latent-map"] * (latent_dim > 1)
    assert names == expected + ["most-wrong"] * (kind == "cvae")


def test_hostile_class_names_are_text(context):
    set_up_process(1)
    outcome = execute(context(), "test")
    facts = read_json(outcome.inside / "inside.json")
    hostile = [
        "<script>alert('x')</script>",
        "$\\frac{$",
        "_hidden",
        "🚀",
        "x" * 300,
        "a\nb",
        "",
        "%s{}",
        "|",
        "[a](b)",
    ]
    shown = facts["most_wrong"]["asked"][0]
    hostile = hostile[-shown:] + hostile[:-shown]  # the first is a class that the section names
    (outcome.inside / "inside.json").write_text(json.dumps({**facts, "class_names": hostile}))
    report = Report("t", "s", (Section("Inside the model", inside_section(outcome).blocks),))
    html = render_html(report)
    assert "<script>alert" not in html
    assert "alert(" in html
    assert "<script>" not in render_markdown(report)
