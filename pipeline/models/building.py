"""From the settings of a model to the model: the one place that knows which architecture they name. No weights."""

import dataclasses

from pipeline.config.sections import ModelConfig
from pipeline.models.architecture import Architecture
from pipeline.models.autoencoder import Autoencoder


def built(settings: ModelConfig, *, pixels: int, classes: int) -> Architecture:
    """The model of these settings for images of D pixels and K classes.

    Its initial weights come from torch's global random state.
    """
    own = dataclasses.asdict(settings)
    return Autoencoder(own.pop("kind"), pixels=pixels, classes=classes, **own)
