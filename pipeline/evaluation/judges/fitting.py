"""The training of a judge, the same for any number of workers."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Int, UInt8
from torch import Tensor

from pipeline.config.sections import JudgeConfig
from pipeline.data.splits import Split, ground_of
from pipeline.evaluation.judges.augmentation import augmented
from pipeline.evaluation.judges.networks import Judge, Kind, build_judge


def _ignore(epoch: int, epochs: int, loss: float) -> None:
    pass


def fit_judge(
    kind: Kind,
    images: UInt8[Tensor, "N *C H W"],
    labels: Int[Tensor, " N"],
    *,
    classes: int,
    config: JudgeConfig,
    on_epoch: Callable[[int, int, float], None] = _ignore,
) -> Judge:
    """A judge trained on augmented images with AdamW and OneCycle (Smith & Topin 2018), in eval mode.

    Depends on `config`, the images and, in the last bits, the number of CPU threads; the caller's random state is left
    as it was. `on_epoch` gets the epoch from 1, the number of epochs, and the epoch's mean cross-entropy in nats.
    """
    N, ground = len(images), ground_of(images)
    seed = config.seed if kind == "a" else config.seed + 1
    epochs, rate = (
        (config.epochs, config.learning_rate) if kind == "a" else (config.mlp_epochs, config.mlp_learning_rate)
    )
    steps = max(1, N // config.batch_size)  # batches of equal size, to within one: batch norm cannot use a batch of 1
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        generator = torch.Generator(images.device).manual_seed(seed)
        judge = build_judge(kind, shape=Split(images, labels).shape, classes=classes).to(images.device)
        optimizer = torch.optim.AdamW(judge.parameters(), lr=rate, weight_decay=0.01, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * steps)
        for epoch in range(1, epochs + 1):
            total = torch.zeros((), device=images.device)
            for batch in torch.randperm(N, generator=generator, device=images.device).tensor_split(steps):
                x = augmented(images[batch].float() / 255, generator, ground).flatten(1)
                loss = F.cross_entropy(judge(x), labels[batch])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                total += loss.detach() * len(batch)
            on_epoch(epoch, epochs, total.item() / N)
    return judge.eval()
