"""scikit-learn's 1,797 digits of 8 x 8, which need no download."""

from pipeline.data.files import as_split
from pipeline.data.splits import Split

# torchvision and scikit-learn are imported where they are used: a training worker only loads what was prepared, and
# would pay three seconds for them.
DIGITS_TEST_FRACTION = 0.2
"""Share of scikit-learn's digits kept as test set: they come without an official one."""


def read_digits() -> Split:
    """scikit-learn's 1,797 digits of 8 x 8; grey values 0 .. 16 become 0 .. 255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return as_split((digits.images * (255 / 16)).round(), digits.target)
