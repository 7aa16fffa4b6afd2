"""Fixtures of the data sets' tests: raw files in a folder, a server that publishes them."""

import contextlib
import gzip
import os
import shutil
import socket
import tempfile
from pathlib import Path

import pytest
import torch
from raw_files import (
    Server,
    md5,
    tiny_idx_files,
)
from torchvision import datasets as tv

from pipeline.config.sections import DataConfig
from pipeline.data.preparing import prepare
from pipeline.data.splits import PreparedData, Split


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """As training runs, and so that timings do not depend on who else is on the machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def digits():
    return prepare(DataConfig("digits"), Path("no such directory"))


@pytest.fixture
def numbered():
    """200 images whose first two pixels tell their number, which is also their label."""
    images = torch.zeros(200, 4, 5, dtype=torch.uint8)
    images[:, 0, 0] = torch.arange(200)
    images[:, 3, 4] = 255
    return Split(images, torch.arange(200))


@pytest.fixture(scope="module")
def mnist_sized():
    def split(n):
        return Split(torch.zeros(n, 28, 28, dtype=torch.uint8), torch.zeros(n, dtype=torch.int64))

    return PreparedData(split(55_000), split(5_000), split(10_000), ("nought",), "mnist", "no hash")


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


@pytest.fixture(scope="module")
def mnist_root():
    return Path(os.environ["CVAE_PIPE_DATA_DIR"])


@pytest.fixture(scope="module")
def mnist(mnist_root):
    return prepare(DataConfig("mnist"), mnist_root, download=False)
