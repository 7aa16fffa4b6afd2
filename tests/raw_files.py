"""Raw files as torchvision lays them out, made small, and a server that publishes them."""

import bz2
import gzip
import hashlib
import http.server
import struct
import threading
import time

import numpy as np
import pytest
from hypothesis import strategies as st
from torchvision import datasets as tv

from pipeline.config.sections import DataConfig
from pipeline.data.preparing import prepare
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


label_lists = st.lists(st.integers(0, 6), min_size=1, max_size=300)


def best_seconds(call, *, of=3):
    def seconds():
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return min(seconds() for _ in range(of))


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


FASHION = DataConfig("fashion-mnist", val_fraction=0.4)


def raw_folder(root):
    return root / "FashionMNIST" / "raw"


def absent(root, why):
    return (
        f"fashion-mnist is not at {raw_folder(root)} and {why}; put the four idx files there "
        "(train-images-idx3-ubyte ...), set CVAE_PIPE_DATA_DIR, or use --dataset digits, which needs no download"
    )


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
