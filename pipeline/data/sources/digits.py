"""scikit-learn's 1,797 digits of 8 x 8, which need no download."""

import string
from pathlib import Path

from pipeline.data.files import as_split
from pipeline.data.sources.source import Official


class Digits:
    """Grey values 0 .. 16 become 0 .. 255. They come without an official test set."""

    origin = "scikit-learn"

    def read(self, root: Path, *, download: bool) -> Official:
        """All of them, wherever `root` is."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        return Official(as_split((digits.images * (255 / 16)).round(), digits.target), None, tuple(string.digits))
