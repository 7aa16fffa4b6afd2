"""Generated images as a value, and as files: a sheet, an archive, a folder of images. Knows pixels, no models.

What is written is what a data set may be read from: an archive has x and y, a folder a sub-folder per class.
"""

import io
import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image

from pipeline.grids import tile
from pipeline.runs.requests import Format
from pipeline.store.files import write_atomically

SHEET = 800
"""Pixels that a sheet of small images is enlarged to, at most."""
WIDEST = 40
"""Images beside each other on a sheet."""


@dataclass(frozen=True)
class Generated:
    """Images and what they are of."""

    images: Float[np.ndarray, "N H W *C"]
    """Means in [0, 1]; grey (N, H, W), colour (N, H, W, 3)."""
    columns: int
    """Images of a row."""
    rows: tuple[str, ...]
    """What each row is."""
    labels: tuple[int, ...] | None
    """The class of each image; None where they are between classes, or of none."""
    class_names: tuple[str, ...]
    facts: dict[str, Any] = field(default_factory=dict)
    """Run, prior, seed, temperature: what makes them again."""

    @property
    def pixels(self) -> UInt8[np.ndarray, "N H W *C"]:
        """As files have them, 0 .. 255."""
        return (self.images.clip(0, 1) * 255).round().astype(np.uint8)

    def sheet(self) -> UInt8[np.ndarray, "H W *C"]:
        """All of them, a pixel of grey apart; one long row is broken into a square."""
        columns = self.columns
        if len(self.rows) == 1 and self.labels is not None and columns > WIDEST // 2:
            columns = math.ceil(math.sqrt(columns))
        parts = np.split(self.images, range(self.columns, len(self.images), self.columns))
        if (
            columns == self.columns and columns > WIDEST
        ):  # several rows that are too long: each begins a line of its own
            columns = WIDEST
            short = -self.columns % columns
            parts = [np.concatenate([part, np.full((short, *part.shape[1:]), 128 / 255, part.dtype)]) for part in parts]
        images = torch.from_numpy(np.concatenate(parts))
        by_channel = images[:, None] if images.dim() == 3 else images.movedim(3, 1)  # (N, C, H, W)
        _, *shape = by_channel.shape
        return tile(by_channel.flatten(1), columns=columns, shape=(shape[0], shape[1], shape[2])).numpy()

    def _repr_png_(self) -> bytes:
        """What a notebook shows."""
        return _png(self.sheet(), None)

    def write(self, out: Path, form: Format, *, scale: int | None = None) -> list[Path]:
        """Write them; the files' paths. `scale` is the side of a pixel in a PNG; by default a sheet is enlarged to
        at most SHEET pixels, and single images are as they are."""
        if form == "png":
            _write(out, _png(self.sheet(), scale))
            return [out]
        if form == "npz":
            _write(out, self._archive())
            return [out]
        written = []
        for i, image in enumerate(self.pixels):
            path = out / self._place(i)
            _write(path, _png(image, scale or 1))
            written.append(path)
        return written

    def _archive(self) -> bytes:
        arrays = {"x": self.images.astype(np.float32), "class_names": np.array(self.class_names)}
        if self.labels is not None:
            arrays["y"] = np.array(self.labels, np.int64)
        arrays["facts"] = np.array(json.dumps(self.facts))
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        return buffer.getvalue()

    def _place(self, index: int) -> Path:
        digits = max(4, len(str(len(self.images) - 1)))
        if self.labels is None:
            return Path(f"{index:0{digits}d}.png")
        label = self.labels[index]
        before = self.labels[:index].count(label) if self.facts.get("form") != "labels" else index % self.columns
        return Path(folder_name(self.class_names, label), f"{before:0{digits}d}.png")


def folder_name(class_names: tuple[str, ...], label: int) -> str:
    """A class's name as one part of a path; its index before it where it had to be changed, so that no two meet."""
    name = class_names[label]
    plain = re.sub(r'[\x00-\x1f/\\:*?"<>|]+', "-", name).strip(" .")[:60]
    return name if plain == name else f"{label}-{plain or 'class'}"


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)


def _png(pixels: UInt8[np.ndarray, "H W *C"], scale: int | None) -> bytes:
    factor = scale or max(1, SHEET // max(pixels.shape[:2]))
    buffer = io.BytesIO()
    Image.fromarray(pixels.repeat(factor, 0).repeat(factor, 1)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
