"""Adam's step is torch.optim.Adam's, and its state goes through a checkpoint."""

import torch

from pipeline.training.adam import Adam


def parameters(generator):
    return [torch.randn(5, 3, generator=generator), torch.randn(40, generator=generator)]


def test_steps_are_those_of_torch_optim_adam(generator):
    own = parameters(generator)
    theirs = [p.clone().requires_grad_() for p in own]
    adam, reference = Adam.start(own, 0.01), torch.optim.Adam(theirs, lr=0.01)
    for _ in range(20):
        gradients = parameters(generator)
        adam.step(own, gradients)
        for p, g in zip(theirs, gradients, strict=True):
            p.grad = g
        reference.step()
    for p, q in zip(own, theirs, strict=True):
        torch.testing.assert_close(p, q.detach())


def test_what_never_had_a_gradient_never_moves():
    own = [torch.zeros(4)]
    adam = Adam.start(own, 1.0)
    for _ in range(5):
        adam.step(own, [torch.zeros(4)])
    assert torch.equal(own[0], torch.zeros(4))


def test_a_restored_state_goes_on_with_the_same_bits(generator):
    own = parameters(generator)
    adam = Adam.start(own, 0.01)
    adam.step(own, parameters(generator))
    copies = [p.clone() for p in own]
    restored = Adam.start(copies, 0.01)
    restored.restore(adam.state())
    gradients = parameters(generator)
    adam.step(own, gradients)
    restored.step(copies, gradients)
    assert restored.steps == adam.steps == 2
    assert all(torch.equal(p, q) for p, q in zip(own, copies, strict=True))
