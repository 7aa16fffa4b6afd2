"""One picture as a person sees it: what Pillow decodes, or an array, as uint8 grey or RGB, in the size asked for.
Knows pixels; no folders, no labels.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

Pixels = UInt8[np.ndarray, "H W *C"]
"""Grey (H, W), or red, green and blue (H, W, 3)."""

EXTENSIONS = frozenset(
    [
        ".png",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".bmp",
        ".dib",
        ".gif",
        ".tif",
        ".tiff",
        ".webp",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".tga",
        ".ico",
        ".jp2",
    ]
)
"""Files that are taken for images."""

BACKGROUND = (255, 255, 255)
"""What shows through transparent pixels: white, as on a page."""

GREY_TOLERANCE = 2
"""Grey levels that red, green and blue may differ by in a picture that is grey: what lossy compression leaves."""

RESAMPLING = Image.Resampling.BILINEAR
"""Over the area of the pixels where an image is made smaller (Pillow's, which is antialiased)."""


class BrokenImageError(Exception):
    """A file that cannot be decoded; says why."""


@dataclass(frozen=True)
class Picture:
    """One decoded file."""

    pixels: Pixels
    frames: int = 1
    """How many there were, of which the first was taken."""


def read_picture(path: Path) -> Picture:
    """The first frame of an image file, turned as its EXIF orientation says, over white; BrokenImageError if it cannot
    be decoded to its last byte."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                frames = getattr(image, "n_frames", 1)
                image.load()
                return Picture(as_seen(ImageOps.exif_transpose(image)), frames)
    except FileNotFoundError:
        raise BrokenImageError("it is not there; perhaps a link to nothing") from None
    except Exception as error:  # decoders raise whatever their parsers come across
        why = " ".join(str(error).replace(repr(str(path)), "it").replace(str(path), "it").split())
        raise BrokenImageError(why[:200] or type(error).__name__) from None


def as_seen(image: Image.Image) -> Pixels:
    """The pixels of an image of any of Pillow's modes; ValueError for numbers that are no shade of grey."""
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits a pixel, or 32
        return _deep(np.asarray(image))
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*BACKGROUND, 255)), over).convert("RGB")
    if image.mode == "1":
        image = image.convert("L")
    if image.mode != "L":
        image = image.convert("RGB")
    return np.asarray(image)


def _deep(values: np.ndarray) -> Pixels:
    """Grey values of 16 bits, 0 .. 65,535, or floats in [0, 1], as 8 bits."""
    if values.dtype.kind == "f":
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise ValueError("its values are floats outside [0, 1]")
        return (values * 255).round().astype(np.uint8)
    if values.min() < 0 or values.max() > 65_535:
        raise ValueError("its values are of 32 bits, beyond 0 to 65,535")
    return (values.astype(np.uint32) * 255 // 65_535).astype(np.uint8)


def is_grey(pixels: Pixels) -> bool:
    """Whether a picture shows no colour, however it is stored."""
    if pixels.ndim == 2:
        return True
    return int((pixels.max(-1) - pixels.min(-1)).max(initial=0)) <= GREY_TOLERANCE


def in_channels(pixels: Pixels, channels: int) -> Pixels:
    """As grey (1), by the luma of ITU-R 601-2, or as RGB (3)."""
    if channels == 1:
        return pixels if pixels.ndim == 2 else np.asarray(Image.fromarray(pixels).convert("L"))
    return pixels if pixels.ndim == 3 else pixels[..., None].repeat(3, -1)


def fitted(pixels: Pixels, height: int, width: int, *, pad: bool) -> Pixels:
    """The picture in that size, its shape kept: cropped around the centre, or padded with the colour of its border."""
    if pixels.shape[:2] == (height, width):
        return pixels
    image = Image.fromarray(pixels)
    if not pad:
        return np.asarray(ImageOps.fit(image, (width, height), RESAMPLING))
    return np.asarray(ImageOps.pad(image, (width, height), RESAMPLING, color=_border(pixels)))


def _border(pixels: Pixels) -> int | tuple[int, ...]:
    """The median of a picture's border."""
    ring = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    median = np.median(ring, axis=0).astype(int)
    return int(median) if pixels.ndim == 2 else tuple(int(value) for value in median)
