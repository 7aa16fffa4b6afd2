"""A home with two studies and a run of its own: made once, copied by each test."""

import shutil

import pytest
from helpers import copy_of, quick_config
from keeping import swept

from pipeline import api


@pytest.fixture(scope="session")
def kept_root(warm_root, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        home = copy_of(warm_root, tmp_path_factory.mktemp("kept") / "home")
        swept(home, "first")
        swept(home, "second", seed=1)
        api.run(quick_config(train__epochs=1), home=home)
    return home.root


@pytest.fixture
def kept(home, kept_root):
    shutil.copytree(kept_root, home.root)
    return home
