"""From a source to PreparedData: three disjoint stratified splits, checked; and how they are kept in a folder."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Int64
from safetensors.torch import load_file
from torch import Tensor

from pipeline.config.sections import DataConfig
from pipeline.data.splits import PreparedData, Split, at, limited, stratified_mask
from pipeline.errors import DataError

DRAWN_TEST_FRACTION = 0.2
"""Share of the images kept as test set where there is no official one."""
LEAST_PER_CLASS = {"train": 2, "val": 2, "test": 2}
"""Images of each class that a split must have. Pairwise and nearest-neighbour scores need two, and so does a spread."""
OWN_LEAST_PER_CLASS = {"train": 2, "val": 1, "test": 1}
"""The same of images of one's own, where a class that is too small for such scores has none."""


def prepare(
    config: DataConfig,
    root: Path,
    *,
    download: bool = True,
    work: Path | None = None,
    progress: Callable[[str, int, int, str], None] = lambda what, done, total, note: None,
) -> PreparedData:
    """The data set of `config`, split, from the raw files under `root` (torchvision's layout), or from one's own.

    Validation comes out of the official training images and test is the official test set; where there is none, a fifth
    is drawn. Every draw is stratified and seeded by `split_seed`. Images of one's own that are alike to the pixel are
    all in train where they would be in two splits, and every class has one image or more in each.

    Missing files are downloaded from torchvision's mirrors unless `download` is off. The environment variable
    CVAE_PIPE_DATA_MIRROR names a base URL to try first, at <base>/<archive name>; a "{dataset}" in it is replaced by
    the data set's name, because mnist, fashion-mnist and kmnist name their archives alike. MD5s are checked either way.
    Images of one's own are decoded into a file in `work`, and `progress` hears how far that is.

    Raises DataError if files are missing and cannot be had, are corrupt, or leave a split with too few of a class.
    """
    generator = torch.Generator().manual_seed(config.split_seed)
    from pipeline.data.sources.table import source_of  # here: who loads what was prepared needs no source

    official = source_of(config, work, progress).read(root, download=download)
    train, test, raw = official.train, official.test, [official.train]
    rows, rest, moved = torch.arange(len(train)), torch.arange(len(train)), 0  # places in `train`
    if test is None:
        is_test = stratified_mask(train.labels, round(DRAWN_TEST_FRACTION * len(train)), generator)
        is_test, moved = _apart(is_test, train.labels, official.same, generator)
        test, rest = at(train, rows[is_test]), rows[~is_test]
    else:
        raw.append(test)
    if 0 < config.train_limit < len(rest):
        rest = rest[stratified_mask(train.labels[rest], config.train_limit, generator)]
    if official.val is None:
        is_val = stratified_mask(train.labels[rest], round(config.val_fraction * len(rest)), generator)
        same = None if official.same is None else official.same[rest]
        is_val, more = _apart(is_val, train.labels[rest], same, generator)
        val, rest, moved = at(train, rest[is_val]), rest[~is_val], moved + more
    else:
        val = official.val
        raw.append(val)
    copies = f"{moved:,} images moved to train, where others are alike to the pixel"
    data = PreparedData(
        train=at(train, rest),
        val=val,
        test=limited(test, config.test_limit, generator),  # drawn last: it must not move the other two
        class_names=official.class_names,
        name=config.name,
        source_sha256=_sha256(raw),
        notes=(*official.notes, *((copies.replace("images", "image", moved == 1),) if moved else ())),
    )
    _require_every_class(data, config)
    return data


def _apart(
    mask: Bool[Tensor, " N"], labels: Int64[Tensor, " N"], same: Int64[Tensor, " N"] | None, generator: torch.Generator
) -> tuple[Bool[Tensor, " N"], int]:
    """A drawn part without images that have one alike outside of it, and how many that were; with one image or more of
    every class that has three. `same` of None leaves it as it was drawn."""
    if same is None:
        return mask, 0
    outside = torch.zeros(int(same.max()) + 1, dtype=torch.bool)
    outside[same[~mask]] = True
    moved = mask & outside[same]
    mask = mask & ~moved
    alone = same.bincount()[same] == 1
    for label in labels.unique().tolist():
        own = labels == label
        candidates = (own & alone).nonzero().squeeze(1)
        if int(own.sum()) >= 3 and not bool(mask[own].any()) and len(candidates):
            mask[candidates[torch.randint(len(candidates), (1,), generator=generator)]] = True
    return mask, int(moved.sum())


def _require_every_class(data: PreparedData, config: DataConfig) -> None:
    """DataError unless every split has the least number of images of each class."""
    val_fraction, train_limit = f"data.val_fraction (now {config.val_fraction:.3g})", config.train_limit
    advice = {
        "train": f"raise data.train_limit (now {train_limit})" if train_limit else f"lower {val_fraction}",
        "val": f"raise data.train_limit (now {train_limit}) or {val_fraction}"
        if train_limit
        else f"raise {val_fraction}",
        "test": f"raise data.test_limit (now {config.test_limit})",
    }
    all_counts = {name: data.split(name).labels.bincount(minlength=data.classes) for name in LEAST_PER_CLASS}
    for name, least in (OWN_LEAST_PER_CLASS if config.own else LEAST_PER_CLASS).items():
        counts = all_counts[name]
        if counts.min() < least:
            rarest = int(counts.argmin())
            if config.own and not train_limit and not config.test_limit:
                there = sum(int(c[rarest]) for c in all_counts.values())
                raise DataError(
                    f"class {data.class_names[rarest]!r} of {data.name} has {there} different images, "
                    f"{int(counts[rarest])} of them in {name}, and needs {sum(OWN_LEAST_PER_CLASS.values())}: two to "
                    "train on, one to validate and one to test on; add images, or take the class out"
                )
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
    write_tensors(tensors, folder / TENSORS)
    facts: dict[str, Any] = {
        "name": data.name,
        "class_names": data.class_names,
        "source_sha256": data.source_sha256,
        "notes": data.notes,
        "shape": data.shape,
        "sizes": {name: len(getattr(data, name)) for name in LEAST_PER_CLASS},
    }
    (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def load_prepared(folder: Path) -> PreparedData:
    """What `save_prepared` wrote. The tensors are memory-mapped, so processes on one machine share their pages."""
    tensors = load_file(folder / TENSORS)
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    train, val, test = (Split(tensors[f"{name}.images"], tensors[f"{name}.labels"]) for name in LEAST_PER_CLASS)
    notes = tuple(facts.get("notes", ()))
    return PreparedData(train, val, test, tuple(facts["class_names"]), facts["name"], facts["source_sha256"], notes)


SAFETENSORS_NAMES = {torch.uint8: "U8", torch.int64: "I64"}
WRITTEN = 2**24
"""Bytes written at once."""


def write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """A safetensors file of uint8 and int64 tensors, written in parts: `save_file` holds all of it a second time.

    Eight bytes of the header's length, JSON of names, types, shapes and places, and the bytes one after the other
    (huggingface.co/docs/safetensors, "Format").
    """
    header, end = {}, 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.numel() * tensor.element_size()
        kind = SAFETENSORS_NAMES[tensor.dtype]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            flat = tensor.contiguous().view(-1)
            for part in flat.split(max(1, WRITTEN // flat.element_size())):
                file.write(part.numpy().data)
