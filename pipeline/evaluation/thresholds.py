"""Bounds that numbers are read against, where a metric and what a report says of it share them. Needs no torch."""

from typing import Any

ACTIVE_VARIANCE = 0.01
"""Variance over images of a dimension's mean above which it counts as active (Burda et al. 2016)."""
COLLAPSED_KL = 0.5
"""Total KL in nats below which a posterior counts as collapsed: less than a coin toss of information."""
FEWEST_IMAGES = 10
"""Images of a class below which there is no score of coverage and diversity: with two a class a model reaches 8 % of
real images' coverage, or 80 %, by chance."""
SPACES = ("pixels", "shape")
"""In which copies are looked for."""
NULL_SHARE = 0.01
"""Of held-out images are taken for unusually near, which sets the bound."""
ALLOWED = 0.03
"""Share of near images that an honest model may have: its samples lie where training images are dense, and the bound
itself is estimated from a few hundred held-out images."""
IMAGES_PER_DIMENSION = 2
"""A component needs as many times more images than it has dimensions, for a covariance of its own."""

METHODS = ("noisy", "filtered", "encoded", "projected")
"""Of taking noise out of an image: the noisy image itself, the Gaussian filter, the decoded mean of q(z|x,c), the
projection."""


def cut(facts: dict[str, Any]) -> str:
    """Which components of a mixture were not tried although they were asked for, in a sentence; "" where none."""
    largest, smallest = facts["most"]
    if facts["asked"] <= smallest:
        return ""
    fewest = "" if smallest == largest else f", {smallest} in the smallest class"
    return (
        f"{facts['asked']} components were asked for, but {facts['images']:,} training images are enough for at most "
        f"{largest}{fewest} ({IMAGES_PER_DIMENSION} images of the class for each dimension of a component)"
    )
