"""The state of a training between two epochs, its history, and the checkpoint file that holds both."""

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import DamageError
from pipeline.models.architecture import Architecture
from pipeline.store.files import write_atomically
from pipeline.training.adam import Adam

DIGEST_LENGTH = hashlib.sha256().digest_size
"""Bytes before the saved state that are the hash of it."""


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch did: means over its images, in nats per image."""

    epoch: int
    metrics: dict[str, float]
    """<split>/loss (beta-weighted), bce (distortion where the likelihood is a density), kl, neg_elbo; train/beta and
    train/learning_rate of its last step, train/images_per_second. An ae has no kl."""

    def row(self) -> dict[str, float]:
        return {"epoch": self.epoch, **self.metrics}

    @staticmethod
    def from_row(row: dict[str, float]) -> "EpochRecord":
        return EpochRecord(int(row["epoch"]), {k: v for k, v in row.items() if k != "epoch"})


@dataclass
class Training:
    """The state of a training between two epochs."""

    model: Architecture
    optimizer: Adam
    generator: torch.Generator
    """Draws the batch order and the noise of the training steps, nothing else."""
    epoch: int = 0
    history: list[EpochRecord] = field(default_factory=list)


def save_training(training: Training, path: Path) -> None:
    """The whole state in one file, replaced atomically: after a kill -9 there is the old epoch or the new one."""
    buffer = io.BytesIO()
    torch.save(
        {
            "model": training.model.state_dict(),
            "optimizer": training.optimizer.state(),
            "generator": training.generator.get_state(),
            "epoch": training.epoch,
            "history": [record.row() for record in training.history],
        },
        buffer,
    )
    content = buffer.getvalue()
    write_atomically(path, hashlib.sha256(content).digest() + content)


def load_training(training: Training, path: Path) -> None:
    """Put a freshly started training into the saved state; DamageError, and nothing done, if that is damaged."""
    stored = path.read_bytes()
    digest, content = stored[:DIGEST_LENGTH], stored[DIGEST_LENGTH:]
    if hashlib.sha256(content).digest() != digest:
        raise DamageError(f"{path} is not what was saved")
    saved: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    training.model.load_state_dict(saved["model"])
    training.optimizer.restore(saved["optimizer"])
    training.generator.set_state(saved["generator"])
    training.epoch = saved["epoch"]
    training.history = [EpochRecord.from_row(row) for row in saved["history"]]
