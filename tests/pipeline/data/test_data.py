"""Facts about data sets: how they are read, split, batched and kept, and what is said when they cannot be had."""

import bz2
import contextlib
import gzip
import hashlib
import http.server
import io
import math
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision import datasets as tv
from torchvision.transforms.functional import pil_to_tensor, to_tensor

from pipeline.config.sections import DataConfig
from pipeline.data.preparing import load_prepared, prepare, save_prepared
from pipeline.data.sources.idx import MNIST_MD5, IdxFiles
from pipeline.data.splits import PreparedData, Split, stratified_mask
from pipeline.errors import DataError

SPLITS = ("train", "val", "test")
IDX_NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx(array):
    """The bytes of an idx file."""
    kind = {"uint8": 8, "int32": 12}[array.dtype.name]
    header = struct.pack(f">{1 + array.ndim}I", kind * 256 + array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def tiny(n, *, classes=10, size=28, seed=0):
    """n random images and labels, every class n / classes times."""
    images = np.random.default_rng(seed).integers(0, 256, (n, size, size), dtype=np.uint8)
    return images, (np.arange(n) % classes).astype(np.uint8)


def tiny_idx_files(n_train=60, n_test=20):
    arrays = [*tiny(n_train), *tiny(n_test, seed=1)]
    return {name: idx(array) for name, array in zip(IDX_NAMES, arrays, strict=True)}


def write_files(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def md5(content):
    return hashlib.md5(content).hexdigest()


def joined(prepared):
    """Images and labels of all splits, one row of bytes each, sorted: the data set whatever its order."""
    rows = [
        np.concatenate([part.images.flatten(1).numpy(), part.labels[:, None].numpy().astype(np.uint8)], axis=1)
        for part in (prepared.train, prepared.val, prepared.test)
    ]
    return sorted(row.tobytes() for row in np.concatenate(rows))


def one_line_error(config, root, **options):
    with pytest.raises(DataError) as caught:
        prepare(config, root, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """As training runs, and so that timings do not depend on who else is on the machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# ---- stratification


label_lists = st.lists(st.integers(0, 6), min_size=1, max_size=300)


@given(label_lists, st.floats(0, 1), st.integers(0, 2**40))
def test_a_stratified_subset_has_the_asked_size_and_every_class_within_one_of_its_share(labels, fraction, seed):
    labels = torch.tensor(labels)
    count = round(fraction * len(labels))
    mask = stratified_mask(labels, count, torch.Generator().manual_seed(seed))
    assert mask.sum() == count
    sizes, taken = labels.bincount(minlength=7), labels[mask].bincount(minlength=7)
    assert ((taken - sizes * count / len(labels)).abs() < 1).all()


@given(label_lists, st.integers(0, 2**40))
def test_the_same_seed_draws_the_same_subset(labels, seed):
    labels = torch.tensor(labels)
    first, second = (stratified_mask(labels, len(labels) // 2, torch.Generator().manual_seed(seed)) for _ in range(2))
    assert first.equal(second)


def test_every_item_of_a_class_is_equally_likely_to_be_drawn(generator):
    labels = torch.tensor([0] * 8 + [1] * 4)
    draws = 1000
    share = sum(stratified_mask(labels, 3, generator).float() for _ in range(draws)) / draws
    assert (share - 1 / 4).abs().max() < 4 * math.sqrt(1 / 4 * 3 / 4 / draws)


# ---- splits of digits, which every machine has


@pytest.fixture(scope="module")
def digits():
    return prepare(DataConfig("digits"), Path("no such directory"))


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
        ({"test_limit": 9}, "test", 1, "raise data.test_limit (now 9)"),
    ],
)
def test_a_split_too_small_for_its_classes_is_refused_with_the_setting_to_change(settings, split, least, advice):
    message = one_line_error(DataConfig("digits", **settings), Path())
    assert re.match(rf"the {split} split of digits would have [01] of class '\d' and needs {least} or more of", message)
    assert message.endswith(f"every class; {advice}")


# ---- batches


@pytest.fixture
def numbered():
    """200 images whose first two pixels tell their number, which is also their label."""
    images = torch.zeros(200, 4, 5, dtype=torch.uint8)
    images[:, 0, 0] = torch.arange(200)
    images[:, 3, 4] = 255
    return Split(images, torch.arange(200))


def test_batches_have_every_image_once_in_order_with_its_own_label(numbered):
    batches = list(numbered.batches(64))
    assert [len(y) for _, y in batches] == [64, 64, 64, 8]
    x, y = (torch.cat(part) for part in zip(*batches, strict=True))
    assert y.equal(numbered.labels)
    assert x.equal(numbered.as_float())
    torch.testing.assert_close(x[:, 0] * 255, y.float())


def test_pixels_are_torchvisions_to_tensor_exactly():
    every_grey = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    x = Split(every_grey, torch.zeros(1, dtype=torch.int64)).as_float()
    assert x.dtype == torch.float32
    assert x.equal(to_tensor(every_grey[0].numpy()).flatten(1).reshape(1, 256))
    assert (x.min(), x.max()) == (0, 1)


def test_as_float_takes_slices_and_indices(numbered):
    assert numbered.as_float(slice(3, 7)).equal(numbered.as_float()[3:7])
    assert numbered.as_float(torch.tensor([5, 2])).equal(numbered.as_float()[[5, 2]])
    assert numbered.as_float(slice(0, 0)).shape == (0, numbered.pixels)


def test_a_split_moves_between_devices(digits):
    moved = digits.to("meta")  # stands in for a GPU where there is none
    assert {getattr(moved, name).images.device.type for name in SPLITS} == {"meta"}
    assert moved.class_names == digits.class_names


@pytest.fixture(scope="module")
def mnist_sized():
    def split(n):
        return Split(torch.zeros(n, 28, 28, dtype=torch.uint8), torch.zeros(n, dtype=torch.int64))

    return PreparedData(split(55_000), split(5_000), split(10_000), ("nought",), "mnist", "no hash")


def best_seconds(call, *, of=3):
    def seconds():
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return min(seconds() for _ in range(of))


# ---- keeping


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


# ---- raw files in torchvision's layout


@pytest.mark.parametrize(("dataset", "kind"), [("fashion-mnist", tv.FashionMNIST), ("kmnist", tv.KMNIST)])
def test_idx_sets_are_read_as_torchvision_reads_them(dataset, kind, tmp_path):
    write_files(tmp_path / kind.__name__ / "raw", tiny_idx_files())
    prepared = prepare(DataConfig(dataset, val_fraction=0.4), tmp_path)
    assert [len(getattr(prepared, name)) for name in SPLITS] == [36, 24, 20]
    assert prepared.test.images.equal(kind(tmp_path, train=False).data)
    assert prepared.test.labels.equal(kind(tmp_path, train=False).targets)
    assert prepared.class_names == tuple(kind.classes)


def test_emnist_images_stand_upright_and_have_47_class_names(tmp_path):
    files = {}
    for part, n in (("train", 47 * 8), ("test", 47)):
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


def usps_files(n_train=60, n_test=20):
    def text(n):
        images, labels = tiny(n, size=16)
        lines = [
            f"{y + 1} " + " ".join(f"{i}:{p / 127.5 - 1:.6f}" for i, p in enumerate(image.flatten(), 1))
            for image, y in zip(images, labels, strict=True)
        ]
        return bz2.compress(("\n".join(lines) + "\n").encode())

    return {"usps.bz2": text(n_train), "usps.t.bz2": text(n_test)}


def publish_usps(monkeypatch, files, url="http://127.0.0.1:9/"):
    parts = zip(("train", "test"), files.items(), strict=True)
    monkeypatch.setattr(tv.USPS, "split_list", {part: [url + name, name, md5(b)] for part, (name, b) in parts})


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


def corrupted(name, content):
    """Every way we know of to break one idx file, with what is said about it."""
    yield content[:-10], "bytes where its header promises"
    yield content + b"\0", "bytes where its header promises"
    yield content[:6], "does not begin with the magic number"
    yield b"", "does not begin with the magic number"
    yield b"<html>not found</html>", "does not begin with the magic number"
    yield gzip.compress(content), "does not begin with the magic number"
    if "labels" in name:
        yield idx(tiny(19 if "t10k" in name else 59)[1]), "labels for the"
        yield content[:-1] + b"\x0a", "it must hold labels 0 to 9"
        yield idx(np.zeros(0, np.uint8)), "0 labels for the"


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


# ---- permissions


@pytest.fixture
def unprivileged():
    """An empty directory of root's, and the test without root's power to write everywhere."""
    folder = Path(tempfile.mkdtemp(prefix="cvae-pipe-test-"))  # not tmp_path, which nobody else may enter

    @contextlib.contextmanager
    def drop():
        was_root = os.geteuid() == 0
        if was_root:
            os.seteuid(65534)
        try:
            yield
        finally:
            if was_root:
                os.seteuid(0)

    folder.chmod(0o755)
    yield folder, drop
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755)
    shutil.rmtree(folder)


def test_a_read_only_root_with_the_files_is_enough(unprivileged):
    root, drop = unprivileged
    write_files(root / "KMNIST" / "raw", tiny_idx_files())
    for folder in (root / "KMNIST" / "raw", root / "KMNIST", root):
        folder.chmod(0o555)
    with drop():
        assert len(prepare(DataConfig("kmnist", val_fraction=0.4), root).test) == 20


def test_a_read_only_root_without_the_files_is_said_to_be_unwritable(unprivileged):
    root, drop = unprivileged
    root.chmod(0o555)
    with drop():
        message = one_line_error(DataConfig("kmnist"), root)
    assert message == (
        f"kmnist must be downloaded, but {root}/KMNIST/raw cannot be written (Permission denied); "
        "set CVAE_PIPE_DATA_DIR to a directory of yours, or use --dataset digits, which needs no download"
    )


def test_a_file_in_place_of_the_root_is_said_to_be_unwritable(tmp_path):
    (tmp_path / "data").write_text("not a directory")
    assert "cannot be written (Not a directory)" in one_line_error(DataConfig("kmnist"), tmp_path / "data")


def test_an_unreadable_file_is_named(unprivileged):
    root, drop = unprivileged
    folder = root / "KMNIST" / "raw"
    write_files(folder, tiny_idx_files())
    (folder / IDX_NAMES[1]).chmod(0)
    with drop():
        message = one_line_error(DataConfig("kmnist"), root)
    assert message.startswith(f"{folder / IDX_NAMES[1]} cannot be read (Permission denied); ")


# ---- downloading, from a real server on the loopback


class Server:
    """Serves `files` {path: bytes}; `dying` paths break off half-way, `silent` ones never answer."""

    def __init__(self):
        self.files, self.dying, self.silent, self.requests = {}, set(), set(), []
        self.over = threading.Event()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests.append(self.path)
                if self.path in server.silent:
                    server.over.wait(20)
                    return
                if self.path not in server.files:
                    self.send_error(404)
                    return
                content = server.files[self.path]
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if self.path in server.dying else content)

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self):
        self.over.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "CVAE_PIPE_DATA_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    yield server
    server.close()


@pytest.fixture
def published(server, monkeypatch):
    """A tiny Fashion-MNIST that torchvision believes in, on the server."""
    archives = {f"{name}.gz": gzip.compress(content) for name, content in tiny_idx_files().items()}
    monkeypatch.setattr(tv.FashionMNIST, "mirrors", [f"http://{server.host}/fashion/"])
    monkeypatch.setattr(tv.FashionMNIST, "resources", [(name, md5(content)) for name, content in archives.items()])
    server.files = {f"/fashion/{name}": content for name, content in archives.items()}
    return server


@pytest.fixture
def closed_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


FASHION = DataConfig("fashion-mnist", val_fraction=0.4)


def raw_folder(root):
    return root / "FashionMNIST" / "raw"


def absent(root, why):
    return (
        f"fashion-mnist is not at {raw_folder(root)} and {why}; put the four idx files there "
        "(train-images-idx3-ubyte ...), set CVAE_PIPE_DATA_DIR, or use --dataset digits, which needs no download"
    )


def test_a_download_puts_the_four_files_there_and_shows_progress_on_stderr(published, tmp_path, capfd):
    prepared = prepare(FASHION, tmp_path / "new")
    assert {p.name: p.read_bytes() for p in raw_folder(tmp_path / "new").iterdir()} == tiny_idx_files()
    assert prepared.test.images.equal(tv.FashionMNIST(tmp_path / "new", train=False).data)
    out, err = capfd.readouterr()
    assert "100%" in err
    assert out == ""
    published.requests.clear()
    prepare(FASHION, tmp_path / "new")
    assert published.requests == []


def test_only_what_is_missing_is_downloaded(published, tmp_path):
    files = tiny_idx_files()
    write_files(raw_folder(tmp_path), {name: files[name] for name in IDX_NAMES[:3]})
    prepare(FASHION, tmp_path)
    assert set(published.requests) == {f"/fashion/{IDX_NAMES[3]}.gz"}


def test_what_a_killed_download_left_behind_does_not_matter(published, tmp_path):
    write_files(raw_folder(tmp_path) / ".download-dead", {IDX_NAMES[0]: b"half", f"{IDX_NAMES[1]}.gz": b"a file"})
    assert len(prepare(FASHION, tmp_path).test) == 20


def test_a_download_killed_at_any_moment_leaves_no_part_of_a_file(published, tmp_path):
    published.silent.add(f"/fashion/{IDX_NAMES[1]}.gz")
    code = (
        "from torchvision import datasets as tv; from pathlib import Path; from pipeline.data import download\n"
        "from pipeline.data.preparing import prepare; from pipeline.config.sections import DataConfig\n"
        f"tv.FashionMNIST.mirrors, tv.FashionMNIST.resources = {tv.FashionMNIST.mirrors}, {tv.FashionMNIST.resources}\n"
        f"download.STALL_SECONDS = 60\nprepare(DataConfig('fashion-mnist'), Path({str(tmp_path)!r}))"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not any(IDX_NAMES[1] in path for path in published.requests) and time.monotonic() < deadline:
        time.sleep(0.02)
    child.kill()
    child.wait()
    published.silent.clear()
    files = {p.name: p.read_bytes() for p in raw_folder(tmp_path).iterdir() if p.is_file()}
    assert files == {IDX_NAMES[0]: tiny_idx_files()[IDX_NAMES[0]]}
    assert len(prepare(FASHION, tmp_path).test) == 20


def break_with_404(server, monkeypatch, path):
    del server.files[path]
    return f"{server.host}: HTTP 404"


def break_by_truncation(server, monkeypatch, path):
    server.files[path] = server.files[path][:-10]
    return f"{server.host}: cut short or another file, its MD5 is wrong"


def break_by_dying(server, monkeypatch, path):
    server.dying.add(path)
    return f"{server.host}: cut short or another file, its MD5 is wrong"


def break_by_silence(server, monkeypatch, path):
    monkeypatch.setattr("pipeline.data.download.STALL_SECONDS", 0.3)
    server.silent.add(path)
    return f"{server.host}: timed out"


BREAKS = [break_with_404, break_by_truncation, break_by_dying, break_by_silence]


@pytest.mark.parametrize("break_it", BREAKS)
@pytest.mark.parametrize("which", [0, 3])
def test_a_broken_download_is_one_line_and_the_next_call_starts_well(break_it, which, published, tmp_path, monkeypatch):
    path = f"/fashion/{IDX_NAMES[which]}.gz"
    content = published.files[path]
    why = break_it(published, monkeypatch, path)
    start = time.monotonic()
    assert one_line_error(FASHION, tmp_path) == absent(tmp_path, f"could not be downloaded ({why})")
    assert time.monotonic() - start < 3
    assert sorted(p.name for p in raw_folder(tmp_path).iterdir()) == sorted(IDX_NAMES[:which])  # whole or not at all
    published.files[path] = content
    published.dying.clear()
    published.silent.clear()
    assert len(prepare(FASHION, tmp_path).test) == 20


def test_refused_connections_and_unknown_hosts_are_said_at_once(published, closed_port, tmp_path, monkeypatch):
    mirrors = [f"http://127.0.0.1:{closed_port}/", "http://no-such-host.invalid/"]
    monkeypatch.setattr(tv.FashionMNIST, "mirrors", mirrors)
    why = f"127.0.0.1:{closed_port}: Connection refused, no-such-host.invalid: no network, or no such host"
    assert one_line_error(FASHION, tmp_path) == absent(tmp_path, f"could not be downloaded ({why})")


def test_mnist_itself_is_told_missing_in_the_same_words(published, closed_port, tmp_path, monkeypatch):
    monkeypatch.setattr(tv.MNIST, "mirrors", [f"http://127.0.0.1:{closed_port}/"])
    assert one_line_error(DataConfig("mnist"), tmp_path) == (
        f"mnist is not at {tmp_path}/MNIST/raw and could not be downloaded "
        f"(127.0.0.1:{closed_port}: Connection refused); "
        "put the four idx files there (train-images-idx3-ubyte ...), set CVAE_PIPE_DATA_DIR, "
        "or use --dataset digits, which needs no download"
    )


def test_nothing_is_fetched_when_downloads_are_off(published, tmp_path):
    assert one_line_error(FASHION, tmp_path, download=False) == absent(tmp_path, "may not be downloaded")
    assert published.requests == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", ["", "/"])
def test_the_mirror_of_the_environment_is_tried_first(published, end, tmp_path, monkeypatch):
    for path, content in list(published.files.items()):
        published.files[path.replace("/fashion/", "/own/fashion-mnist/")] = content
    monkeypatch.setenv("CVAE_PIPE_DATA_MIRROR", f"http://{published.host}/own/{{dataset}}{end}")
    prepare(FASHION, tmp_path)
    assert {path.rpartition("/")[0] for path in published.requests} == {"/own/fashion-mnist"}


@pytest.mark.parametrize("address", ["http://{host}/nothing-here", "http://127.0.0.1:{closed_port}", "no address"])
def test_a_useless_mirror_is_passed_over(published, closed_port, address, tmp_path, monkeypatch):
    monkeypatch.setenv("CVAE_PIPE_DATA_MIRROR", address.format(host=published.host, closed_port=closed_port))
    assert len(prepare(FASHION, tmp_path).test) == 20


def test_a_mirror_with_another_file_is_passed_over(published, tmp_path, monkeypatch):
    for path in list(published.files):
        published.files[path.replace("/fashion/", "/other/")] = gzip.compress(b"something else")
    monkeypatch.setenv("CVAE_PIPE_DATA_MIRROR", f"http://{published.host}/other")
    prepare(FASHION, tmp_path)
    assert {p.name: p.read_bytes() for p in raw_folder(tmp_path).iterdir()} == tiny_idx_files()


def test_emnist_takes_four_files_out_of_its_zip(server, tmp_path, monkeypatch):
    files = {}
    for part, n in (("train", 47 * 8), ("test", 47)):
        images, labels = tiny(n, classes=47)
        files |= {
            f"emnist-balanced-{part}-images-idx3-ubyte": idx(images),
            f"emnist-balanced-{part}-labels-idx1-ubyte": idx(labels),
        }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in (files | {"emnist-letters-train-images-idx3-ubyte": b"not wanted"}).items():
            archive.writestr(f"gzip/{name}.gz", gzip.compress(content))
    server.files["/gzip.zip"] = packed.getvalue()
    monkeypatch.setattr(tv.EMNIST, "url", f"http://{server.host}/gzip.zip")
    monkeypatch.setattr(tv.EMNIST, "md5", md5(packed.getvalue()))
    prepare(DataConfig("emnist-balanced", val_fraction=0.25), tmp_path)
    assert {p.name: p.read_bytes() for p in (tmp_path / "EMNIST" / "raw").iterdir()} == files


def test_usps_is_kept_as_it_comes(server, tmp_path, monkeypatch):
    files = usps_files()
    server.files = {f"/{name}": content for name, content in files.items()}
    publish_usps(monkeypatch, files, f"http://{server.host}/")
    prepare(DataConfig("usps", val_fraction=0.4), tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == files


def test_a_missing_usps_is_told_with_its_own_files(tmp_path):
    message = one_line_error(DataConfig("usps"), tmp_path, download=False)
    assert f"usps is not at {tmp_path} and may not be downloaded; put the two bz2 files there (usps.bz2 ...)" in message


# ---- the real MNIST


@pytest.fixture(scope="module")
def mnist_root():
    return Path(os.environ["CVAE_PIPE_DATA_DIR"])


@pytest.fixture(scope="module")
def mnist(mnist_root):
    return prepare(DataConfig("mnist"), mnist_root, download=False)


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
