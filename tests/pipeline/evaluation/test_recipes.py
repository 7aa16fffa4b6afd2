"""Noise taken out and classes found strange, by models and images whose truth is known."""

import math

import pytest
import torch

from pipeline.data.splits import PreparedData, Split
from pipeline.evaluation.anomalies import look_for_anomalies, strangeness, without
from pipeline.evaluation.denoising import best_width, denoise, filtered, noisy, projected, psnr
from pipeline.models.likelihoods import BERNOULLI, pixel_entropy

K, SIDE, Z = 3, 4, 2
D = SIDE * SIDE


class Linear(torch.nn.Module):
    """Draws sigmoid(A z + b_c), and encodes by a fixed map: a decoder whose images are known."""

    classes, latent_dim, stochastic, conditional, likelihood = K, Z, True, True, BERNOULLI

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.a = torch.nn.Parameter(2 * torch.randn(D, Z, generator=generator))
        self.b = torch.nn.Parameter(2 * torch.randn(K, D, generator=generator))

    def encode(self, x, y):
        return torch.zeros(len(x), Z), torch.zeros(len(x), Z)

    def decode(self, z, y):
        return z @ self.a.T + self.b[y]

    def decode_mixture(self, z, weights):
        return z @ self.a.T + weights @ self.b


@pytest.fixture(scope="module")
def model():
    return Linear()


def split_of(images, labels):
    return Split((images.view(-1, SIDE, SIDE) * 255).round().to(torch.uint8), labels)


@pytest.fixture(scope="module")
def drawn(model):
    """Images that the decoder draws: 60 of each class."""
    generator = torch.Generator().manual_seed(3)
    y = torch.arange(K).repeat_interleave(60)
    with torch.no_grad():
        return split_of(model.decode(torch.randn(len(y), Z, generator=generator), y).sigmoid(), y)


def test_psnr_of_a_known_error():
    x = torch.full((2, 9), 0.5)
    assert psnr(x + 0.1, x).tolist() == pytest.approx([20.0, 20.0], abs=1e-4)


def test_noise_has_its_deviation_before_it_is_cut_and_depends_on_the_seed():
    grey = torch.full((200, 400), 0.5)
    seen = noisy(grey, 0.1, seed=0)
    assert float((seen - grey).std()) == pytest.approx(0.1, rel=0.01)
    assert torch.equal(seen, noisy(grey, 0.1, seed=0))
    assert not torch.equal(seen, noisy(grey, 0.1, seed=1))
    loud = noisy(grey, 1.0, seed=0)
    assert (float(loud.min()), float(loud.max())) == (0.0, 1.0)


def test_the_filter_works_on_each_channel_alone_and_the_wider_one_wins_in_more_noise(generator):
    smooth = torch.rand(30, 2, 1, 1, generator=generator).expand(30, 2, 16, 16).flatten(1)
    assert torch.allclose(filtered(smooth, (2, 16, 16), 1.0), smooth, atol=1e-5), "flat channels stay as they are"
    waves = (torch.linspace(0, 6.28, 16).sin() * 0.4 + 0.5).repeat(16, 1).flatten()[None].repeat(30, 1)
    widths = [best_width(waves, noisy(waves, sigma, seed=0), (1, 16, 16)) for sigma in (0.02, 0.3)]
    assert widths[0] < widths[1]


def test_the_projection_finds_the_code_of_an_image_with_little_noise(model):
    z = torch.tensor([[1.0, -0.5], [0.3, 0.8]])
    y = torch.tensor([0, 2])
    with torch.no_grad():
        clean = model.decode(z, y).sigmoid()
    torch.testing.assert_close(projected(model, noisy(clean, 0.01, seed=0), y, 0.01), z, atol=0.1, rtol=0)
    in_noise = projected(model, clean, y, 100.0)
    assert float(in_noise.abs().max()) < 0.05, "where the image says nothing, the prior is what is left"


def test_a_model_that_draws_such_images_beats_the_filter_at_every_level(model, drawn):
    for sigma in (0.1, 0.3, 0.5):
        found = denoise(model, drawn, drawn, (1, SIDE, SIDE), K, sigma)
        facts = found.facts
        assert facts["gain"]["filtered"] > facts["half"]["filtered"] > 0
        assert facts["gain"]["noisy"] == pytest.approx(facts["psnr"]["projected"] - facts["psnr"]["noisy"])
        assert len(found.images) == 50
    assert denoise(model, drawn, drawn, (1, SIDE, SIDE), K, 0.5).facts == facts


def test_a_held_out_class_is_in_test_alone(drawn):
    data = PreparedData(drawn, drawn, drawn, ("a", "b", "c"), "drawn", "0")
    seen = without(data, 1)
    assert set(seen.train.labels.tolist()) == set(seen.val.labels.tolist()) == {0, 2}
    assert seen.test is drawn
    assert seen.classes == 3


def test_a_class_that_the_model_cannot_draw_is_strange_and_one_that_it_can_is_not(model, drawn):
    data = without(PreparedData(drawn, drawn, drawn, ("a", "b", "c"), "drawn", "0"), 1)
    scores = strangeness(model, data, drawn, held_out=1)
    assert all(torch.isfinite(values).all() for values in scores.values())
    # Under its own label an image costs less than under another: the label of the least bound is the right one.
    own = drawn.labels != 1
    assert float(scores["excess_bce"][own].mean()) < float(scores["excess_bce"][~own].mean())
    torch.testing.assert_close(
        scores["neg_elbo"], scores["excess_bce"] + pixel_entropy(drawn.as_float()), msg="kl of q = N(0, I) is 0"
    )
    found = look_for_anomalies(model, data, drawn, held_out=1)
    assert found.facts["images"] == {"known": 120, "held_out": 60}
    for score in found.facts["scores"].values():
        assert score["low"] <= score["auroc"] <= score["high"]
        assert math.isfinite(score["auroc"])
    assert found.facts["scores"]["neg_elbo"]["auroc"] > 0.8
    assert found.facts["shown"][:10].count(1) >= 8
    assert found.images.shape == (20, D)
