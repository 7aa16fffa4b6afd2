"""Convolutional models of images of any shape: what goes in comes out, every pixel is seen and drawn."""

import math

import pytest
import torch
from torch import nn

from pipeline.models.convolutional import ConvAutoencoder, default_channels

K, Z, B = 3, 4, 5
SHAPES = [(1, 28, 28), (3, 32, 32), (1, 8, 8), (3, 5, 7), (1, 27, 13), (1, 2, 40), (1, 1, 1)]


def build(shape=(1, 28, 28), kind="cvae", **options):
    torch.manual_seed(0)
    options = {"conv_channels": (4, 6), **options}
    return ConvAutoencoder(kind, shape=shape, classes=K, latent_dim=Z, hidden=(7,), **options)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_pixel_of_an_image_of_any_shape_moves_the_code_and_is_moved_by_it(shape, generator):
    model = build(shape)
    x = torch.rand(B, math.prod(shape), generator=generator, requires_grad=True)
    y = torch.arange(B) % K
    mu, logvar = model.encode(x, y)
    assert mu.shape == logvar.shape == (B, Z)
    (moved,) = torch.autograd.grad(mu.square().sum() + logvar.square().sum(), x)
    assert (moved.abs().sum(0) > 0).all()
    z = torch.randn(B, Z, generator=generator)
    drawn, others = model.decode(z, y), model.decode(z + 1, y)
    assert drawn.shape == x.shape
    assert (drawn != others).any(0).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_pixels_stay_where_they_are(shape):
    """A flat image is (channels, height, width): a lit pixel changes the features around its own place alone."""
    model = build(shape, conv_channels=(4,))
    dark, lit = torch.zeros(2, 1, math.prod(shape)).unbind(0)
    lit = lit.clone()
    lit[0, -1] = 1  # the last row and column of the last channel
    change = (model.down[0](lit.view(1, *shape)) - model.down[0](dark.view(1, *shape))).abs().sum((0, 1))
    assert change[-1, -1] > 0
    if min(change.shape) > 3:
        assert change[:-3].sum() == 0
        assert change[:, :-3].sum() == 0


def test_label_and_codes_of_the_three_kinds():
    x, y = torch.rand(B, 784), torch.arange(B) % K
    models = {kind: build(kind=kind) for kind in ("ae", "vae", "cvae")}
    assert models["ae"].encode(x, y)[1] is None
    for kind, model in models.items():
        z = torch.zeros(B, Z)
        assert torch.equal(model.decode(z, y), model.decode(z, (y + 1) % K)) == (kind != "cvae")
        assert torch.equal(model.encode(x, y)[0], model.encode(x, (y + 1) % K)[0]) == (kind != "cvae")
    blind = build(condition_encoder=False)
    assert torch.equal(blind.encode(x, y)[0], blind.encode(x, (y + 1) % K)[0])
    assert not torch.equal(blind.decode(z, y), blind.decode(z, (y + 1) % K))
    torch.testing.assert_close(blind.decode_mixture(z, nn.functional.one_hot(y, K).float()), blind.decode(z, y))


@pytest.mark.parametrize(
    ("size", "channels"),
    [
        ((28, 28), (32, 64)),
        ((32, 32), (32, 64)),
        ((8, 8), (32,)),
        ((64, 64), (32, 64, 128)),
        ((128, 20), (32, 64, 128, 128)),
        ((1, 1), (32,)),
    ],
)
def test_there_are_as_many_convolutions_as_the_image_asks_for(size, channels):
    assert default_channels(size) == channels
    model = build((1, *size), conv_channels=())
    assert [layer.out_channels for layer in model.down if isinstance(layer, nn.Conv2d)] == list(channels)
    assert max(model.coarsest[1:]) <= 8


def test_the_decoder_mirrors_the_encoder():
    model = build((3, 20, 12), conv_channels=(4, 6, 8))
    down = [layer for layer in model.down if isinstance(layer, nn.Conv2d)]
    up = [layer for layer in model.up if isinstance(layer, nn.ConvTranspose2d)]
    assert [(c.in_channels, c.out_channels, c.stride) for c in down] == [
        (c.out_channels, c.in_channels, c.stride) for c in reversed(up)
    ]
    assert model.coarsest == (8, 2, 3)  # 20 10 5 2, 12 6 3 and no further
