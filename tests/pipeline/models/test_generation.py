"""Images of a class do not depend on what else is asked for; turns end where they should; a model reads its own."""

import pytest
import torch

from pipeline.models.autoencoder import Autoencoder
from pipeline.models.generation import (
    class_codes,
    class_images,
    class_noise,
    image_turn,
    label_turns,
    read_labels,
    restyled,
)
from pipeline.models.priors import STANDARD, ClassMixtures
from pipeline.models.sampling import decode_means, generation_grid

K, D, Z = 3, 12, 4


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Autoencoder("cvae", pixels=D, classes=K, latent_dim=Z, hidden=(8,)).eval()


@pytest.fixture(scope="module")
def mixtures():
    generator = torch.Generator().manual_seed(1)
    roots = torch.randn(K, 2, Z, Z, generator=generator).tril()
    return ClassMixtures(torch.tensor([[0.3, 0.7]] * K), torch.randn(K, 2, Z, generator=generator), roots)


def test_the_first_ten_images_of_each_class_are_the_grid_of_the_report(model, mixtures):
    for prior in (STANDARD, mixtures):
        images, labels = class_images(model, prior, [0, 1, 2], 10, seed=0)
        torch.testing.assert_close(images, generation_grid(model, columns=10, seed=0, prior=prior))
        assert labels.tolist() == [0] * 10 + [1] * 10 + [2] * 10


def test_an_image_depends_on_its_class_its_number_and_the_seed_alone(model, mixtures):
    many, _ = class_images(model, mixtures, [2, 1], 25, seed=5)
    few, _ = class_images(model, mixtures, [1], 7, seed=5)
    torch.testing.assert_close(many[25:32], few)
    other, _ = class_images(model, mixtures, [1], 7, seed=6)
    assert not torch.allclose(few, other)


def test_noise_has_no_repetition_and_is_standard_normal_over_pages():
    eps, u = class_noise(1, 5000, classes=K, latent_dim=Z, seed=3)
    assert len(eps.unique(dim=0)) == 5000
    assert abs(float(eps.mean())) < 4 / (5000 * Z) ** 0.5
    assert float(eps.std()) == pytest.approx(1, abs=0.02)
    assert float(u.mean()) == pytest.approx(0.5, abs=0.02)


def test_temperature_scales_the_noise_around_the_centres_of_the_prior(model, mixtures):
    cold = class_codes(model, mixtures, 1, 50, seed=0, temperature=0.0)
    assert len(cold.unique(dim=0)) <= 2  # the means of its components
    whole, half = (class_codes(model, mixtures, 1, 50, seed=0, temperature=t) for t in (1.0, 0.5))
    torch.testing.assert_close(half - cold, (whole - cold) / 2)


def test_turning_labels_begins_and_ends_at_the_two_classes(model, mixtures):
    z = class_codes(model, mixtures, 0, 2, seed=0)
    turned = label_turns(model, z, 0, 2, steps=5).view(2, 5, D)
    torch.testing.assert_close(turned[:, 0], decode_means(model, z, torch.tensor([0, 0])))
    torch.testing.assert_close(turned[:, -1], decode_means(model, z, torch.tensor([2, 2])))


@pytest.mark.parametrize("labels", [(1, 1), (0, 2)])
def test_between_two_images_are_their_reconstructions_at_the_ends(model, labels, generator):
    x, y = torch.rand(2, D, generator=generator), torch.tensor(labels)
    with torch.inference_mode():
        mu, _ = model.encode(x, y)
    turned = image_turn(model, x, y, steps=7)
    torch.testing.assert_close(turned[[0, -1]], decode_means(model, mu, y))


def test_a_style_under_its_own_label_is_the_reconstruction(model, generator):
    x = torch.rand(1, D, generator=generator)
    with torch.inference_mode():
        mu, _ = model.encode(x, torch.tensor([1]))
    styled = restyled(model, x, 1, [2, 1])
    torch.testing.assert_close(styled[1:], decode_means(model, mu, torch.tensor([1])))
    torch.testing.assert_close(styled[:1], decode_means(model, mu, torch.tensor([2])))


def test_a_model_reads_the_label_under_which_an_image_is_likeliest():
    """A decoder that paints its label, whatever z is."""

    class Painter(Autoencoder):
        def decode(self, z, y):
            return torch.nn.functional.one_hot(y, D).float() * 20 - 10

    model = Painter("cvae", pixels=D, classes=K, latent_dim=Z, hidden=(8,), condition_encoder=False).eval()
    x = torch.nn.functional.one_hot(torch.tensor([2, 0, 1]), D).float()
    assert read_labels(model, x).tolist() == [2, 0, 1]
