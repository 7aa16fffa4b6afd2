"""Products and linear layers are what they say by whichever library; gradients still go through the layer."""

import pytest
import torch
from torch import nn

from pipeline.models import linear
from pipeline.models.linear import Linear, affine, product


@pytest.fixture(params=[True, False], ids=["oneDNN", "torch"])
def library(request, monkeypatch):
    if request.param and not linear.HAS_ONEDNN:
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(linear, "HAS_ONEDNN", request.param)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("shape", [(64, 784, 400), (1, 3, 2), (24, 30, 400)])
def test_a_product_is_the_product_whichever_operand_is_a_transpose(shape, generator):
    n, m, p = shape
    a, b = torch.randn(n, m, generator=generator), torch.randn(m, p, generator=generator)
    exact = (a.double() @ b.double()).float()
    for left in (a, a.T.contiguous().T):
        for right in (b, b.T.contiguous().T):
            torch.testing.assert_close(product(left, right), exact, atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("relu", [False, True])
def test_an_affine_map_is_wx_plus_b(relu, generator):
    x, w, b = (torch.randn(*s, generator=generator) for s in ((6, 5), (4, 5), (4,)))
    expected = x @ w.T + b
    torch.testing.assert_close(affine(x, w, b, relu=relu), expected.relu() if relu else expected)


def test_a_stack_of_affine_maps_is_each_of_them(generator):
    x, w, b = (torch.randn(*s, generator=generator) for s in ((2, 6, 5), (2, 4, 5), (2, 4)))
    both = affine(x, w, b, relu=True)
    for k in range(2):
        torch.testing.assert_close(both[k], affine(x[k], w[k], b[k], relu=True))


def test_the_layer_is_torchs_with_and_without_gradients(generator):
    torch.manual_seed(0)
    own = Linear(5, 4)
    theirs = nn.Linear(5, 4)
    theirs.load_state_dict(own.state_dict())
    x = torch.randn(3, 10, generator=generator)[:, ::2]  # not dense
    with torch.no_grad():
        torch.testing.assert_close(own(x), theirs(x))
    own(x).sum().backward()
    theirs(x).sum().backward()
    assert own.weight.grad is not None
    torch.testing.assert_close(own.weight.grad, theirs.weight.grad)
