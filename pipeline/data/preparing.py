"""From a source to PreparedData: three disjoint stratified splits, checked; and how they are kept in a folder."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from pipeline.config.sections import DataConfig
from pipeline.data.splits import PreparedData, Split, limited, stratified_mask, where
from pipeline.errors import DataError
from pipeline.store.tensors import save_tensors

DRAWN_TEST_FRACTION = 0.2
"""Share of the images kept as test set where there is no official one."""
LEAST_PER_CLASS = {"train": 2, "val": 2, "test": 2}
"""Images of each class that a split must have. Pairwise and nearest-neighbour scores need two, and so does a spread."""


def prepare(config: DataConfig, root: Path, *, download: bool = True) -> PreparedData:
    """The data set of `config`, split, from the raw files under `root` (torchvision's layout).

    Validation comes out of the official training images and test is the official test set; where there is none, a fifth
    is drawn. Every draw is stratified and seeded by `split_seed`.

    Missing files are downloaded from torchvision's mirrors unless `download` is off. The environment variable
    CVAE_PIPE_DATA_MIRROR names a base URL to try first, at <base>/<archive name>; a "{dataset}" in it is replaced by
    the data set's name, because mnist, fashion-mnist and kmnist name their archives alike. MD5s are checked either way.

    Raises DataError if files are missing and cannot be had, are corrupt, or leave a split with too few of a class.
    """
    generator = torch.Generator().manual_seed(config.split_seed)
    from pipeline.data.sources.table import SOURCES  # here: who loads what was prepared needs no source

    official = SOURCES[config.dataset].read(root, download=download)
    train, test, raw = official.train, official.test, [official.train]
    if test is None:
        is_test = stratified_mask(train.labels, round(DRAWN_TEST_FRACTION * len(train)), generator)
        train, test = where(train, ~is_test), where(train, is_test)
    else:
        raw.append(test)
    train = limited(train, config.train_limit, generator)
    is_val = stratified_mask(train.labels, round(config.val_fraction * len(train)), generator)
    data = PreparedData(
        train=where(train, ~is_val),
        val=where(train, is_val),
        test=limited(test, config.test_limit, generator),  # drawn last: it must not move the other two
        class_names=official.class_names,
        name=config.dataset,
        source_sha256=_sha256(raw),
    )
    _require_every_class(data, config)
    return data


def _require_every_class(data: PreparedData, config: DataConfig) -> None:
    """DataError unless every split has LEAST_PER_CLASS images of each class."""
    val_fraction, train_limit = f"data.val_fraction (now {config.val_fraction:.3g})", config.train_limit
    advice = {
        "train": f"raise data.train_limit (now {train_limit})" if train_limit else f"lower {val_fraction}",
        "val": f"raise data.train_limit (now {train_limit}) or {val_fraction}"
        if train_limit
        else f"raise {val_fraction}",
        "test": f"raise data.test_limit (now {config.test_limit})",
    }
    for name, least in LEAST_PER_CLASS.items():
        counts = getattr(data, name).labels.bincount(minlength=data.classes)
        if counts.min() < least:
            rarest = int(counts.argmin())
            raise DataError(
                f"the {name} split of {data.name} would have {int(counts[rarest])} of class "
                f"{data.class_names[rarest]!r} and needs {least} or more of every class; {advice[name]}"
            )


def _sha256(splits: list[Split]) -> str:
    hashed = hashlib.sha256()
    for split in splits:
        hashed.update(split.images.numpy().data)
        hashed.update(split.labels.numpy().data)
    return hashed.hexdigest()


TENSORS, FACTS = "tensors.safetensors", "data.json"


def save_prepared(data: PreparedData, folder: Path) -> None:
    """Write tensors.safetensors and data.json (names, sizes, hash) into an existing folder."""
    tensors: dict[str, Tensor] = {}
    for name in LEAST_PER_CLASS:
        split: Split = getattr(data, name)
        tensors |= {f"{name}.images": split.images, f"{name}.labels": split.labels}
    save_tensors(tensors, folder / TENSORS)
    facts: dict[str, Any] = {
        "name": data.name,
        "class_names": data.class_names,
        "source_sha256": data.source_sha256,
        "height": data.height,
        "width": data.width,
        "sizes": {name: len(getattr(data, name)) for name in LEAST_PER_CLASS},
    }
    (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def load_prepared(folder: Path) -> PreparedData:
    """What `save_prepared` wrote. The tensors are memory-mapped, so processes on one machine share their pages."""
    tensors = load_file(folder / TENSORS)
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    train, val, test = (Split(tensors[f"{name}.images"], tensors[f"{name}.labels"]) for name in LEAST_PER_CLASS)
    return PreparedData(train, val, test, tuple(facts["class_names"]), facts["name"], facts["source_sha256"])
