"""Every data set by its name: the one place that knows which source has it."""

from pathlib import Path

from pipeline.config.sections import DATASETS, DataConfig
from pipeline.data.sources.digits import Digits
from pipeline.data.sources.idx import IdxFiles
from pipeline.data.sources.own import OwnImages, Progress
from pipeline.data.sources.source import Source
from pipeline.data.sources.usps import Usps

SOURCES: dict[str, Source] = {
    **{name: IdxFiles(name) for name in ("mnist", "fashion-mnist", "kmnist", "emnist-balanced", "qmnist")},
    "usps": Usps(),
    "digits": Digits(),
}


def source_of(config: DataConfig, work: Path | None, progress: Progress) -> Source:
    """The source of a configuration's images: by name, or those at a path."""
    return OwnImages(config, work, progress) if config.own else SOURCES[config.dataset]


assert SOURCES.keys() == set(DATASETS)
