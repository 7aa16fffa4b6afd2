"""From a source to three disjoint splits: sizes, seeds, hashes; what is kept is loaded."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from raw_files import IDX_NAMES, SPLITS, best_seconds, idx, joined, md5, one_line_error, tiny_idx_files, write_files
from torchvision import datasets as tv
from torchvision.transforms.functional import pil_to_tensor

from pipeline.config.sections import DataConfig
from pipeline.data.preparing import load_prepared, prepare, save_prepared
from pipeline.data.sources.idx import MNIST_MD5, IdxFiles
from pipeline.data.splits import PreparedData, Split


def test_digits_need_no_files_and_come_in_three_splits(digits):
    assert [len(getattr(digits, name)) for name in SPLITS] == [1318, 120, 359]
    assert (digits.height, digits.width, digits.pixels, digits.classes) == (8, 8, 64, 10)
    assert digits.class_names == tuple("0123456789")
    assert digits.name == "digits"


def test_digits_grey_values_are_scikit_learns_scaled_to_a_byte(digits):
    from sklearn.datasets import load_digits

    values = digits.train.images.unique()
    assert values.tolist() == [round(v * 255 / 16) for v in range(17)]
    rows = load_digits()
    expected = sorted(
        np.rint(image * 255 / 16).astype(np.uint8).tobytes() + bytes([y])
        for image, y in zip(rows.data, rows.target, strict=True)
    )
    assert joined(digits) == expected  # each image in exactly one split, with its own label


def test_every_split_keeps_the_class_proportions_within_one_image(digits):
    everything = sum(getattr(digits, name).labels.bincount() for name in SPLITS)
    development = everything - digits.test.labels.bincount()
    test, val = digits.test.labels.bincount(), digits.val.labels.bincount()
    assert ((test - everything * len(digits.test) / 1797).abs() < 1).all()
    assert ((val - development * len(digits.val) / development.sum()).abs() < 1).all()


def test_the_split_depends_on_the_split_seed_alone(digits):
    again, other = prepare(DataConfig("digits"), Path()), prepare(DataConfig("digits", split_seed=1), Path())
    for name in SPLITS:
        assert getattr(again, name).images.equal(getattr(digits, name).images)
        assert getattr(again, name).labels.equal(getattr(digits, name).labels)
        assert not getattr(other, name).images.equal(getattr(digits, name).images)
    assert joined(other) == joined(digits)


def test_the_source_hash_ignores_split_and_limits_but_not_the_data(digits, tmp_path):
    other_split = prepare(DataConfig("digits", split_seed=5, train_limit=300, val_fraction=0.3), tmp_path)
    assert other_split.source_sha256 == digits.source_sha256
    hashes = set()
    for changed in range(2):
        files = tiny_idx_files()
        image = bytearray(files[IDX_NAMES[2]])
        image[-1] ^= changed  # one bit of one pixel of the test set
        write_files(tmp_path / "KMNIST" / "raw", files | {IDX_NAMES[2]: bytes(image)})
        hashes.add(prepare(DataConfig("kmnist", val_fraction=0.4), tmp_path).source_sha256)
    assert len(hashes) == 2


def test_limits_keep_a_stratified_subset(digits):
    limited = prepare(DataConfig("digits", train_limit=400, test_limit=100, val_fraction=0.25), Path())
    assert [len(getattr(limited, name)) for name in SPLITS] == [300, 100, 100]
    for name in SPLITS:
        counts = getattr(limited, name).labels.bincount()
        assert counts.max() - counts.min() <= 2
    assert set(joined(limited)) <= set(joined(digits))


def test_a_limit_above_the_data_keeps_all(digits):
    assert joined(prepare(DataConfig("digits", train_limit=10**6, test_limit=10**6), Path())) == joined(digits)


def test_a_test_limit_leaves_train_and_val_as_they_are(digits):
    limited = prepare(DataConfig("digits", test_limit=50), Path())
    assert limited.train.images.equal(digits.train.images)
    assert limited.val.images.equal(digits.val.images)


@pytest.mark.parametrize(
    ("settings", "split", "least", "advice"),
    [
        ({"train_limit": 60}, "val", 2, "raise data.train_limit (now 60) or data.val_fraction (now 0.0833)"),
        ({"val_fraction": 0.005}, "val", 2, "raise data.val_fraction (now 0.005)"),
        ({"train_limit": 12}, "train", 2, "raise data.train_limit (now 12)"),
        ({"test_limit": 9}, "test", 2, "raise data.test_limit (now 9)"),
    ],
)
def test_a_split_too_small_for_its_classes_is_refused_with_the_setting_to_change(settings, split, least, advice):
    message = one_line_error(DataConfig("digits", **settings), Path())
    assert re.match(rf"the {split} split of digits would have [01] of class '\d' and needs {least} or more of", message)
    assert message.endswith(f"every class; {advice}")


def test_what_is_saved_is_loaded(digits, tmp_path):
    save_prepared(digits, tmp_path)
    loaded = load_prepared(tmp_path)
    for name in SPLITS:
        assert getattr(loaded, name).images.equal(getattr(digits, name).images)
        assert getattr(loaded, name).labels.equal(getattr(digits, name).labels)
    for fact in ("class_names", "name", "source_sha256", "height", "width", "pixels", "classes"):
        assert getattr(loaded, fact) == getattr(digits, fact)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.json", "tensors.safetensors"]


def test_loading_maps_the_file_into_memory_and_is_quick(mnist_sized, tmp_path):
    save_prepared(mnist_sized, tmp_path)
    assert best_seconds(lambda: load_prepared(tmp_path)) < 0.1
    loaded = load_prepared(tmp_path)
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("memory maps can be seen on Linux only")
    ranges = [line.split()[0].split("-") for line in maps.read_text().splitlines() if str(tmp_path) in line]
    for name in SPLITS:
        address = getattr(loaded, name).images.data_ptr()
        assert any(int(start, 16) <= address < int(end, 16) for start, end in ranges)


def test_loading_needs_neither_torchvision_nor_scikit_learn(digits, tmp_path):
    save_prepared(digits, tmp_path)
    code = (
        "import sys; from pathlib import Path; from pipeline.data.preparing import load_prepared;"
        f"load_prepared(Path({str(tmp_path)!r})); print([m for m in ('torchvision', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.mnist
def test_mnist_has_55000_5000_and_10000_images_of_ten_digits(mnist):
    assert [len(getattr(mnist, name)) for name in SPLITS] == [55_000, 5_000, 10_000]
    assert (mnist.height, mnist.width, mnist.classes) == (28, 28, 10)
    assert mnist.class_names == tuple("0123456789")


@pytest.mark.mnist
def test_mnist_is_what_torchvision_reads_each_image_in_one_split(mnist, mnist_root):
    official = [tv.MNIST(mnist_root, train=train) for train in (True, False)]
    everything = [Split(part.data, part.targets) for part in official]
    assert mnist.test.images.equal(everything[1].images)
    assert mnist.test.labels.equal(everything[1].labels)
    none = Split(mnist.test.images[:0], mnist.test.labels[:0])
    assert joined(mnist) == joined(PreparedData(*everything, none, mnist.class_names, "mnist", ""))
    image, label = official[1][0]
    assert (mnist.test.images[:1].equal(pil_to_tensor(image)), mnist.class_names[label]) == (True, "7")


@pytest.mark.mnist
def test_mnist_validation_keeps_the_class_proportions_within_one_image(mnist):
    val, train = mnist.val.labels.bincount(), mnist.train.labels.bincount()
    assert ((val - (train + val) * 5_000 / 60_000).abs() < 1).all()


@pytest.mark.mnist
def test_mnist_joined_again_has_the_published_md5_of_its_raw_files(mnist, mnist_root):
    official = IdxFiles("mnist").read(mnist_root, download=False)
    read = (official.train, official.test)
    parts = [part for split in read for part in (split.images.numpy(), split.labels.numpy().astype(np.uint8))]
    assert [md5(idx(part)) for part in parts] == list(MNIST_MD5.values())
    by_hand = hashlib.sha256()
    for split in read:
        by_hand.update(split.images.numpy().tobytes() + split.labels.numpy().tobytes())
    assert mnist.source_sha256 == by_hand.hexdigest()


@pytest.mark.mnist
def test_a_train_limit_of_mnist_is_a_stratified_subset(mnist, mnist_root):
    limited = prepare(DataConfig("mnist", train_limit=6_000, test_limit=1_000), mnist_root, download=False)
    assert [len(getattr(limited, name)) for name in SPLITS] == [5_500, 500, 1_000]
    official = mnist.train.labels.bincount() + mnist.val.labels.bincount()
    drawn = limited.train.labels.bincount() + limited.val.labels.bincount()
    assert ((drawn - official / 10).abs() < 1).all()
    assert set(joined(limited)) <= set(joined(mnist))
    assert limited.source_sha256 == mnist.source_sha256


@pytest.mark.mnist
def test_one_changed_bit_of_mnist_is_noticed(mnist_root, tmp_path):
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name in IDX_NAMES:
        (folder / name).symlink_to(mnist_root.resolve() / "MNIST" / "raw" / name)
    content = bytearray((folder / IDX_NAMES[2]).read_bytes())
    content[-1] ^= 1
    (folder / IDX_NAMES[2]).unlink()
    (folder / IDX_NAMES[2]).write_bytes(content)
    message = one_line_error(DataConfig("mnist"), tmp_path)
    assert f"{folder / IDX_NAMES[2]} is corrupt: its MD5 is {md5(content)} and must be 2646ac64" in message
