"""The evaluation classifiers: what they read, how they are trained, the law of the blur, and the gates."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import mnist_root
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from pipeline.config.sections import GateConfig, JudgeConfig
from pipeline.errors import JudgeError
from pipeline.evaluation.blur import blurred
from pipeline.evaluation.judges.augmentation import augmented
from pipeline.evaluation.judges.fitting import fit_judge
from pipeline.evaluation.judges.gates import Gate, check_gates, gate_values, gates_from, judge_gates
from pipeline.evaluation.judges.networks import (
    ConvJudge,
    MLPJudge,
    build_judge,
    extract_features,
    judge_outputs,
    predict_logits,
)

QUICK = JudgeConfig(epochs=2, mlp_epochs=2, batch_size=64)


@pytest.fixture(scope="module")
def digits():
    """scikit-learn's digits as uint8: train images and labels, test images and labels."""
    images, labels = load_digits(return_X_y=True)
    images = torch.from_numpy((images / 16 * 255).round().astype(np.uint8)).view(-1, 8, 8)
    labels = torch.from_numpy(labels).long()
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0)
    return images[train], labels[train], images[test], labels[test]


@pytest.fixture
def strokes(generator):
    """Ten 28 x 28 images in [0, 1] with grey up to the borders."""
    return torch.rand(10, 28, 28, generator=generator, dtype=torch.float64)


def class_means(images, labels):
    return torch.stack([images[labels == c].float().mean(0).flatten() / 255 for c in range(10)])


def same_weights(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


# ---- architectures -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "conv_features"), [(28, 32 * 7 * 7), (16, 32 * 4 * 4), (8, 32 * 2 * 2)])
def test_judges_take_flat_images_of_any_size_and_class_count(size, conv_features, generator):
    x = torch.rand(3, size * size, generator=generator)
    for kind, architecture, width in (("a", ConvJudge, conv_features), ("b", MLPJudge, 256)):
        judge = build_judge(kind, shape=(1, size, size), classes=47).eval()
        assert isinstance(judge, architecture)
        assert judge(x).shape == (3, 47)
        assert judge.features(x).shape == (3, width)


@pytest.mark.parametrize("kind", ["a", "b"])
def test_outputs_of_one_pass_are_the_logits_and_the_features(kind, generator):
    judge = build_judge(kind, shape=(1, 8, 8), classes=10).eval()
    x = torch.rand(23, 64, generator=generator)
    logits, features = judge_outputs(judge, x, batch=5)
    torch.testing.assert_close(logits, judge(x))
    torch.testing.assert_close(features, judge.features(x))
    torch.testing.assert_close(predict_logits(judge, x, batch=23), logits)
    torch.testing.assert_close(extract_features(judge, x, batch=7), features)
    assert not logits.requires_grad


def test_conv_features_are_channel_major_activations_after_the_last_pool(generator):
    judge = build_judge("a", shape=(1, 8, 8), classes=10).eval()
    x = torch.rand(2, 64, generator=generator)
    maps = judge.convolutions(x.view(2, 1, 8, 8))
    assert maps.shape == (2, 32, 2, 2)
    torch.testing.assert_close(judge.features(x), maps.reshape(2, -1))
    assert (judge.features(x) >= 0).all()


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 5, 9), (1, 1, 1), (3, 3, 2), (1, 64, 1)])
def test_judges_take_images_of_any_shape_in_one_channel_or_three(shape, generator):
    x = torch.rand(4, *shape, generator=generator)
    for kind in ("a", "b"):
        judge = build_judge(kind, shape=shape, classes=2).eval()
        assert judge(x.flatten(1)).shape == (4, 2)


# ---- blur and augmentation -----------------------------------------------------------------------------------------


def test_the_channels_of_an_image_are_distorted_alike_and_its_background_stays(generator):
    colour = torch.ones(3, 3, 28, 28) * torch.tensor([0.9, 0.5, 0.2])[:, None, None]
    blank = augmented(colour, torch.Generator().manual_seed(0), torch.tensor([0.9, 0.5, 0.2]))
    assert (blank - colour).abs().max() < 0.3  # noise, and no black corners
    assert (blank - colour).mean().abs() < 0.01
    dots = torch.zeros(3, 1, 28, 28)
    dots[:, :, 14, 14] = 1
    grey = augmented(dots, torch.Generator().manual_seed(1))
    torch.testing.assert_close(grey[:, 0], augmented(dots[:, 0], torch.Generator().manual_seed(1)))
    one, sigmas = torch.rand(2, 3, 9, 9, generator=generator), torch.tensor([0.5, 2.0])
    apart = torch.stack([blurred(one[:, c], sigmas) for c in range(3)], dim=1)
    torch.testing.assert_close(blurred(one, sigmas), apart)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("size", [28, 8])
def test_blur_agrees_with_scipy_at_every_size(sigma, size, strokes):
    images = strokes[:, :size, :size]
    expected = [gaussian_filter(image.numpy(), sigma * size / 28, mode="reflect", truncate=8) for image in images]
    torch.testing.assert_close(blurred(images, sigma), torch.from_numpy(np.stack(expected)))


def test_blur_keeps_the_sum_of_grey_and_sigma_zero_keeps_the_image(strokes):
    torch.testing.assert_close(blurred(strokes, 2.0).sum((1, 2)), strokes.sum((1, 2)))
    torch.testing.assert_close(blurred(strokes, 0.0), strokes)


def test_blur_takes_one_sigma_per_image(strokes):
    sigmas = torch.linspace(0, 2, 10, dtype=torch.float64)
    one_by_one = torch.cat([blurred(image[None], sigma.item()) for image, sigma in zip(strokes, sigmas, strict=True)])
    torch.testing.assert_close(blurred(strokes, sigmas), one_by_one)


def test_blur_of_a_dot_has_variance_sigma_squared():
    dot = torch.zeros(1, 29, 29, dtype=torch.float64)
    dot[0, 14, 14] = 1
    spread = blurred(dot, 1.5 * 28 / 29)[0].sum(0) @ (torch.arange(29, dtype=torch.float64) - 14).square()
    assert spread.item() == pytest.approx(1.5**2, rel=1e-6)


def test_augmented_images_differ_from_each_other_and_stay_grey_values(generator, strokes):
    images = strokes[:1].float().expand(50, 28, 28)
    out = augmented(images, generator)
    assert 0 <= out.min() < out.max() <= 1
    assert torch.unique(out.flatten(1), dim=0).shape == (50, 784)
    assert torch.equal(augmented(images, torch.Generator().manual_seed(3)), augmented(images, generator.manual_seed(3)))


@pytest.mark.parametrize("size", [28, 8])
def test_augmentation_shifts_by_at_most_two_pixels_at_28(size, generator, monkeypatch):
    for name in ("MAX_NOISE", "MAX_ROTATION"):
        monkeypatch.setattr(f"pipeline.evaluation.judges.augmentation.{name}", 0.0)
    images = torch.zeros(2000, size, size)
    images[:, size // 2 - 1 : size // 2 + 1, size // 2 - 1 : size // 2 + 1] = 0.5
    out = augmented(images, generator)
    axis = torch.arange(size) - (size - 1) / 2
    shift = torch.stack([out.sum(d) @ axis / out.sum((1, 2)) for d in (1, 2)]) * 28 / size  # (2, N), pixels at 28
    assert 1.95 < shift.abs().max() < 2.05
    assert shift.std().item() == pytest.approx(2 / 3**0.5, rel=0.05)  # of U(-2, 2)


def test_augmentation_turns_by_at_most_ten_degrees(generator, monkeypatch):
    for name in ("MAX_NOISE", "MAX_SHIFT", "MAX_BLUR"):
        monkeypatch.setattr(f"pipeline.evaluation.judges.augmentation.{name}", 0.0)
    images = torch.zeros(2000, 28, 28)
    images[:, 13:15, 22:24] = 0.5  # 9 pixels right of the centre
    out = augmented(images, generator)
    axis = torch.arange(28) - 13.5
    right, down = (out.sum(d) @ axis / out.sum((1, 2)) for d in (1, 2))  # (N,)
    angle = torch.atan2(down, right).rad2deg()
    assert 9.5 < angle.abs().max() < 10.1
    torch.testing.assert_close((right.square() + down.square()).sqrt(), torch.full((2000,), 9.0), atol=0.05, rtol=0)


# ---- training ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["a", "b"])
def test_training_is_a_function_of_the_seed_and_leaves_the_callers_random_state(kind, digits):
    images, labels = digits[0][:400], digits[1][:400]
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = fit_judge(kind, images, labels, classes=10, config=QUICK)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again = fit_judge(kind, images, labels, classes=10, config=QUICK)
    other = fit_judge(kind, images, labels, classes=10, config=replace(QUICK, seed=5))
    assert same_weights(first, again)
    assert not same_weights(first, other)


@pytest.mark.parametrize("kind", ["a", "b"])
def test_judges_read_held_out_digits_sharp_or_blurred(kind, digits):
    images, labels, test_images, test_labels = digits
    epochs = 12
    config = JudgeConfig(epochs=epochs, mlp_epochs=epochs, batch_size=64, mlp_learning_rate=1e-2)
    seen = []
    judge = fit_judge(kind, images, labels, classes=10, config=config, on_epoch=lambda *told: seen.append(told))
    values = gate_values(kind, judge, test_images, test_labels, class_means(images, labels))
    ece = values.pop("ece", 0.0)
    assert min(values.values()) >= 0.97
    assert ece <= 0.03
    assert [s[:2] for s in seen] == [(e, epochs) for e in range(1, epochs + 1)]
    assert seen[-1][2] < 0.3 < seen[0][2]
    assert not judge.training
    assert all(w.is_contiguous() for w in judge.state_dict().values())  # as safetensors demands


@pytest.mark.parametrize("kind", ["a", "b"])
def test_fewer_images_than_a_batch_still_train_a_judge(kind, digits):
    images, labels, _, _ = digits
    judge = fit_judge(kind, images[:30], labels[:30], classes=10, config=JudgeConfig(epochs=1, mlp_epochs=1))
    assert all(w.isfinite().all() for w in judge.state_dict().values())


@pytest.mark.soak
@pytest.mark.mnist
def test_augmentation_is_what_lets_a_judge_read_blurred_mnist(monkeypatch):
    images, labels, test_images, test_labels = mnist_subset()
    means = class_means(images, labels)
    config = JudgeConfig(epochs=4, batch_size=64)
    values = gate_values(
        "a", fit_judge("a", images, labels, classes=10, config=config), test_images, test_labels, means
    )
    assert values["class_means"] == 1
    assert values["clean"] >= 0.975
    assert values["blur_2"] >= 0.95
    assert values["ece"] <= 0.03

    monkeypatch.setattr("pipeline.evaluation.judges.fitting.augmented", lambda x, *_: x)
    naive = fit_judge("a", images, labels, classes=10, config=replace(config, epochs=2))
    values = gate_values("a", naive, test_images, test_labels, means)
    assert values["clean"] >= 0.97
    assert values["blur_2"] <= 0.7


def mnist_subset():
    """6,000 training and 2,000 test images of MNIST, stratified."""

    def idx(name, header):
        return np.fromfile(mnist_root() / "MNIST" / "raw" / name, dtype=np.uint8)[header:]

    parts = []
    for split, n in (("train", 6000), ("t10k", 2000)):
        labels = idx(f"{split}-labels-idx1-ubyte", 8)
        images = idx(f"{split}-images-idx3-ubyte", 16).reshape(-1, 28, 28)
        keep, _ = train_test_split(np.arange(len(labels)), train_size=n, stratify=labels, random_state=0)
        parts += [torch.from_numpy(images[keep]), torch.from_numpy(labels[keep]).long()]
    return parts


# ---- gates ---------------------------------------------------------------------------------------------------------


class GreyReader(nn.Module):
    """Says class k, surely, of an image whose mean grey is 25 k / 255; a blur cannot fool it."""

    def forward(self, x):
        return -100 * (x.mean(-1, keepdim=True) * 255 / 25 - torch.arange(10)).square()


@pytest.fixture
def grey():
    """1,000 flat grey images, their labels with 10 of them wrong, and the ten class means."""
    labels = torch.arange(10).repeat(100)
    images = (25 * labels).to(torch.uint8)[:, None, None].expand(1000, 28, 28)
    means = torch.arange(10)[:, None].expand(10, 784) * 25 / 255
    labels = torch.cat([(labels[:10] + 1) % 10, labels[10:]])
    return images, labels, means


def test_relative_gates_hold_a_judge_against_its_own_ceiling():
    config = GateConfig(relative=True)
    reads = {"clean": 0.7, "blur_1": 0.7, "blur_2": 0.6, "class_means": 0.2, "ece": 0.05}
    gates = {gate.name: gate for gate in gates_from("a", reads, config, 26)}
    assert gates["A clean"].bound == pytest.approx((1 + 1 / 26) / 2)
    assert gates["A blur_2"].bound == pytest.approx(0.7 * config.blur_2 / config.clean)
    assert {name for name, gate in gates.items() if not gate.passed} == {"A blur_2"}
    assert not gates_from("b", {"mlp_clean": 0.6, "mlp_blur_1_5": 0.6}, config, 2)[0].passed  # chance is a half


def test_gates_measure_accuracy_calibration_and_class_means(grey):
    gates = {gate.name: gate for gate in judge_gates("a", GreyReader(), *grey, GateConfig())}
    assert {name: round(gate.value, 6) for name, gate in gates.items()} == {
        "A clean": 0.99,
        "A blur_1": 0.99,
        "A blur_1_5": 0.99,
        "A blur_2": 0.99,
        "A class_means": 1.0,
        "A ece": 0.01,  # surely right of all, and wrong of 1 %
    }
    passed = {name for name, gate in gates.items() if gate.passed}
    assert passed >= {"A blur_1_5", "A blur_2", "A class_means"}
    assert not passed & {"A clean", "A blur_1"}
    gates_b = judge_gates("b", GreyReader(), *grey, GateConfig())
    assert [(gate.name, gate.bound, gate.passed) for gate in gates_b] == [
        ("B clean", 0.985, True),
        ("B blur_1_5", 0.97, True),
    ]


def test_a_calibration_error_above_its_bound_and_an_unread_class_mean_miss_their_gates(grey):
    images, labels, means = grey
    swapped = means[[1, 0, *range(2, 10)]]
    gates = judge_gates("a", GreyReader(), images, labels, swapped, GateConfig(clean=0, blur_1=0, ece=0.005))
    assert {gate.name: gate.value for gate in gates if not gate.passed} == pytest.approx(
        {"A class_means": 0.8, "A ece": 0.01}
    )


def test_a_missed_gate_is_refused_in_one_line_naming_every_miss_and_the_way_out():
    gates = [
        Gate("A clean", 0.9912, 0.994, passed=False),
        Gate("A blur_1", 0.9930, 0.992, passed=True),
        Gate("A ece", 0.0231, 0.01, passed=False),
    ]
    with pytest.raises(JudgeError) as refusal:
        check_gates(gates, enforce=True)
    message = str(refusal.value)
    assert "A clean 0.9912 (at least 0.994)" in message
    assert "A ece 0.0231 (at most 0.01)" in message
    assert "blur" not in message
    assert "judge.epochs" in message
    assert "--set gates.enforce=false" in message
    assert "\n" not in message
    check_gates(gates, enforce=False)
    check_gates(gates[1:2], enforce=True)
