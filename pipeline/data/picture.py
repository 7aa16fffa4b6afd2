"""One image file of a user's, as a model takes it. Knows pixels; no data set."""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageOps

from pipeline.errors import DataError


def read_image(path: Path, shape: tuple[int, int, int]) -> Float[np.ndarray, "C H W"]:
    """The image in [0, 1], grey or red, green and blue; DataError if it cannot be decoded or has another size."""
    channels, height, width = shape
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened).convert("L" if channels == 1 else "RGB")
    except FileNotFoundError:
        raise DataError(f"there is no image {path}") from None
    except Exception as error:  # decoders raise whatever their parsers come across
        why = " ".join(str(error).split())[:150] or type(error).__name__
        raise DataError(f"{path} cannot be read as an image ({why}); give a PNG, JPEG, ..") from None
    if image.size != (width, height):
        raise DataError(
            f"{path} is {image.height} x {image.width} pixels (height x width), and the model's images are "
            f"{height} x {width}; resize it first"
        )
    pixels = np.asarray(image, np.float32) / 255
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
