"""From the settings of a model to the model: the one place that knows which architecture they name. No weights."""

import math
from typing import Any

from pipeline.config.sections import ModelConfig
from pipeline.models.architecture import Architecture
from pipeline.models.autoencoder import Autoencoder
from pipeline.models.convolutional import ConvAutoencoder
from pipeline.models.likelihoods import likelihood_of


def built(settings: ModelConfig, *, shape: tuple[int, int, int], classes: int) -> Architecture:
    """The model of these settings for images of (channels, height, width) and K classes.

    Its initial weights come from torch's global random state.
    """
    shared: dict[str, Any] = {
        "classes": classes,
        "latent_dim": settings.latent_dim,
        "hidden": settings.hidden,
        "condition_encoder": settings.condition_encoder,
        "likelihood": likelihood_of(settings.likelihood),
        "learned_prior": settings.learned_prior,
    }
    if settings.arch == "conv":
        return ConvAutoencoder(settings.kind, shape=shape, conv_channels=settings.conv_channels, **shared)
    return Autoencoder(settings.kind, pixels=math.prod(shape), **shared)
