"""Downloads from a real server on the loopback: checked, whole or absent, and clear when they fail."""

import gzip
import io
import subprocess
import sys
import time
import zipfile

import pytest
from raw_files import (
    BREAKS,
    FASHION,
    IDX_NAMES,
    absent,
    idx,
    md5,
    one_line_error,
    publish_usps,
    raw_folder,
    tiny,
    tiny_idx_files,
    usps_files,
    write_files,
)
from torchvision import datasets as tv

from pipeline.config.sections import DataConfig
from pipeline.data.preparing import prepare


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
    for part, n in (("train", 47 * 8), ("test", 47 * 2)):
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
