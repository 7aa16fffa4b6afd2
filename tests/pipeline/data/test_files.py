"""Raw files of torchvision's layout: read to the byte, refused when they are corrupt."""

import bz2
import gzip

import numpy as np
import pytest
import torch
from raw_files import (
    IDX_NAMES,
    SPLITS,
    corrupted,
    idx,
    md5,
    one_line_error,
    publish_usps,
    tiny,
    tiny_idx_files,
    usps_files,
    write_files,
)
from torchvision import datasets as tv

from pipeline.config.sections import DataConfig
from pipeline.data.preparing import prepare


@pytest.mark.parametrize(("dataset", "kind"), [("fashion-mnist", tv.FashionMNIST), ("kmnist", tv.KMNIST)])
def test_idx_sets_are_read_as_torchvision_reads_them(dataset, kind, tmp_path):
    write_files(tmp_path / kind.__name__ / "raw", tiny_idx_files())
    prepared = prepare(DataConfig(dataset, val_fraction=0.4), tmp_path)
    assert [len(getattr(prepared, name)) for name in SPLITS] == [36, 24, 20]
    assert prepared.test.images.equal(kind(tmp_path, train=False).data)
    assert prepared.test.labels.equal(kind(tmp_path, train=False).targets)
    assert prepared.class_names == tuple(kind.classes)


@pytest.mark.parametrize(
    "called", [lambda n: n.replace("-idx", ".idx"), lambda n: f"{n}.gz", lambda n: f"{n.replace('-idx', '.idx')}.gz"],
    ids=["7-Zip", "gz", "both"],
)  # fmt: skip
def test_raw_files_are_read_packed_and_under_the_names_that_7_zip_gives_them(called, tmp_path):
    plain, other = tmp_path / "plain", tmp_path / "other"
    write_files(plain / "FashionMNIST" / "raw", tiny_idx_files())
    (other / "FashionMNIST" / "raw").mkdir(parents=True)
    for file in (plain / "FashionMNIST" / "raw").iterdir():
        target = other / "FashionMNIST" / "raw" / called(file.name)
        target.write_bytes(gzip.compress(file.read_bytes()) if target.suffix == ".gz" else file.read_bytes())
    config = DataConfig("fashion-mnist", val_fraction=0.4)
    one, two = (prepare(config, root, download=False) for root in (plain, other))
    assert one.source_sha256 == two.source_sha256
    packed = next(iter(sorted((other / "FashionMNIST" / "raw").glob("train-images*"))))
    if packed.suffix == ".gz":
        packed.write_bytes(packed.read_bytes()[:-20])
        assert "cannot be unpacked" in one_line_error(config, other, download=False)


def test_emnist_images_stand_upright_and_have_47_class_names(tmp_path):
    files = {}
    for part, n in (("train", 47 * 8), ("test", 47 * 2)):
        images, labels = tiny(n, classes=47)
        images[:], images[:, :, 3] = 0, 255  # as stored; torchvision's documentation shows them on their side
        files |= {
            f"emnist-balanced-{part}-images-idx3-ubyte": idx(images),
            f"emnist-balanced-{part}-labels-idx1-ubyte": idx(labels),
        }
    write_files(tmp_path / "EMNIST" / "raw", files)
    prepared = prepare(DataConfig("emnist-balanced", val_fraction=0.25), tmp_path)
    stored = tv.EMNIST(tmp_path, split="balanced", train=False)
    assert prepared.test.images.equal(stored.data.transpose(1, 2))
    assert (prepared.test.images[0, 3] == 255).all()  # the stored column is a row
    assert prepared.test.images.is_contiguous()
    assert "".join(prepared.class_names) == "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"


def test_qmnist_labels_are_the_classes_of_its_eight_column_table(tmp_path):
    files = {}
    for part, n in (("train", 60), ("test", 30)):
        images, labels = tiny(n)
        table = np.random.default_rng(2).integers(0, 9999, (n, 8)).astype(np.int32)
        table[:, 0] = labels
        files |= {f"qmnist-{part}-images-idx3-ubyte": idx(images), f"qmnist-{part}-labels-idx2-int": idx(table)}
    write_files(tmp_path / "QMNIST" / "raw", files)
    prepared = prepare(DataConfig("qmnist", val_fraction=0.4), tmp_path)
    stored = tv.QMNIST(tmp_path, what="test")
    assert prepared.test.images.equal(stored.data)
    assert prepared.test.labels.equal(stored.targets[:, 0])
    assert prepared.class_names == tuple("0123456789")


def test_usps_is_read_as_torchvision_reads_it(tmp_path, monkeypatch):
    publish_usps(monkeypatch, usps_files())
    write_files(tmp_path, usps_files())
    prepared = prepare(DataConfig("usps", val_fraction=0.4), tmp_path)
    assert (prepared.height, prepared.width, prepared.classes) == (16, 16, 10)
    stored = tv.USPS(tmp_path, train=False)
    assert (prepared.test.images.numpy() == stored.data).all()
    assert prepared.test.labels.tolist() == stored.targets
    assert (prepared.test.images.float() - torch.from_numpy(tiny(20, size=16)[0]).float()).abs().max() <= 1


def test_a_usps_file_with_another_md5_or_other_content_is_corrupt(tmp_path, monkeypatch):
    good = usps_files()
    publish_usps(monkeypatch, good)
    write_files(tmp_path, good | {"usps.t.bz2": good["usps.t.bz2"][:-9]})
    assert f"{tmp_path / 'usps.t.bz2'} is corrupt: its MD5 is" in one_line_error(DataConfig("usps"), tmp_path)
    for content in (good["usps.t.bz2"][:-9], b"no bzip2", bz2.compress(b"1 1:0.5\n"), bz2.compress(b"x y z\n")):
        wrong = good | {"usps.t.bz2": content}
        publish_usps(monkeypatch, wrong)
        write_files(tmp_path, wrong)
        message = one_line_error(DataConfig("usps"), tmp_path)
        assert f"{tmp_path / 'usps.t.bz2'} is corrupt: it is not bzip2 of LIBSVM text" in message


@pytest.mark.parametrize("name", IDX_NAMES)
def test_a_broken_idx_file_is_named_with_what_is_wrong_and_what_to_do(name, tmp_path):
    folder = tmp_path / "KMNIST" / "raw"
    good = tiny_idx_files()
    for content, says in corrupted(name, good[name]):
        write_files(folder, good | {name: content})
        message = one_line_error(DataConfig("kmnist"), tmp_path)
        assert message.startswith(f"{folder / name} is corrupt: ")
        assert says in message
        assert message.endswith("; delete it and run again, or copy a good one there")


def test_idx_files_without_a_single_image_are_corrupt(tmp_path):
    empty = {IDX_NAMES[2]: idx(np.zeros((0, 28, 28), np.uint8)), IDX_NAMES[3]: idx(np.zeros(0, np.uint8))}
    write_files(tmp_path / "KMNIST" / "raw", tiny_idx_files() | empty)
    assert "and at least one" in one_line_error(DataConfig("kmnist"), tmp_path)


def test_files_of_mnist_that_are_not_mnist_are_told_by_their_md5(tmp_path):
    write_files(tmp_path / "MNIST" / "raw", tiny_idx_files())
    message = one_line_error(DataConfig("mnist"), tmp_path)
    assert (
        f"{IDX_NAMES[0]} is corrupt: its MD5 is {md5(tiny_idx_files()[IDX_NAMES[0]])} and must be 6bbc9ace" in message
    )
