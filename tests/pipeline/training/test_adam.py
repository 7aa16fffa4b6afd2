"""Adam's step is torch.optim.Adam's, and its state goes through a checkpoint."""

import torch

from pipeline.training.adam import Adam


def parameters(generator):
    return [torch.randn(5, 3, generator=generator), torch.randn(40, generator=generator)]


def test_steps_are_those_of_torch_optim_adam(generator):
    own = parameters(generator)
    theirs = [p.clone().requires_grad_() for p in own]
    adam, reference = Adam.start(own), torch.optim.Adam(theirs, lr=0.01)
    for n in range(20):
        gradients = parameters(generator)
        rate = reference.param_groups[0]["lr"] = 0.01 / (1 + n)
        adam.step(own, gradients, rate)
        for p, g in zip(theirs, gradients, strict=True):
            p.grad = g
        reference.step()
    for p, q in zip(own, theirs, strict=True):
        torch.testing.assert_close(p, q.detach())


def test_what_never_had_a_gradient_never_moves():
    own = [torch.zeros(4)]
    adam = Adam.start(own)
    for _ in range(5):
        adam.step(own, [torch.zeros(4)], 1.0)
    assert torch.equal(own[0], torch.zeros(4))


def test_a_restored_state_goes_on_with_the_same_bits(generator):
    own = parameters(generator)
    adam = Adam.start(own)
    adam.step(own, parameters(generator), 0.01)
    copies = [p.clone() for p in own]
    restored = Adam.start(copies)
    restored.restore(adam.state())
    gradients = parameters(generator)
    adam.step(own, gradients, 0.01)
    restored.step(copies, gradients, 0.01)
    assert restored.steps == adam.steps == 2
    assert all(torch.equal(p, q) for p, q in zip(own, copies, strict=True))


def test_a_rate_in_a_tensor_is_the_rate_it_holds_when_the_step_is_taken(generator):
    own = parameters(generator)
    copies, rate = [p.clone() for p in own], torch.zeros(())
    by_number, by_tensor = Adam.start(own), Adam.start(copies)
    for value in (0.5, 0.25):  # exact in float32
        gradients = parameters(generator)
        by_number.step(own, gradients, value)
        by_tensor.step(copies, gradients, rate.fill_(value))
    assert all(torch.equal(p, q) for p, q in zip(own, copies, strict=True))
