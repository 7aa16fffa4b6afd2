"""Every data set by its name: the one place that knows which source has it."""

from pipeline.config.sections import DATASETS
from pipeline.data.sources.digits import Digits
from pipeline.data.sources.idx import IdxFiles
from pipeline.data.sources.source import Source
from pipeline.data.sources.usps import Usps

SOURCES: dict[str, Source] = {
    **{name: IdxFiles(name) for name in ("mnist", "fashion-mnist", "kmnist", "emnist-balanced", "qmnist")},
    "usps": Usps(),
    "digits": Digits(),
}
assert SOURCES.keys() == set(DATASETS)
