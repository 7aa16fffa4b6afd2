"""Temporary files of a home: they go with their process, or with the next command; nobody else's are touched."""

import os
import subprocess
import sys
import tempfile

import pytest

from pipeline.store.files import write_atomically


@pytest.fixture
def dead() -> int:
    """The id of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_a_killed_process_left_goes_and_what_lives_stays(home, dead):
    home.check_writable()
    partial = home.store.partial("train", "ab" * 32)
    (home.reports / "s" / "images").mkdir(parents=True)
    partial.mkdir(parents=True)
    folders = home.reports / "s", home.reports / "s" / "images", home.mlruns, partial, home.root / ".cache"
    left = [folder / f".page.html.{dead}.tmp" for folder in folders]
    kept = [folder / f".page.html.{os.getpid()}.tmp" for folder in folders]
    kept += [home.reports / ".mine.tmp", home.reports / "s" / f"page.{dead}.tmp", partial / "checkpoint.pt"]
    for path in (*left, *kept):
        path.touch()
    scratch = home.root / ".cache" / "tmp"
    for pid in (dead, os.getpid()):
        (scratch / str(pid) / "tmpabc").mkdir(parents=True)
    home.tidy()
    assert [p for p in left if p.exists()] == []
    assert [p for p in kept if not p.exists()] == []
    assert [p.name for p in scratch.iterdir()] == [str(os.getpid())]


def test_a_probe_of_a_killed_process_goes(home, monkeypatch, dead):
    monkeypatch.setattr("os.getpid", lambda: dead)
    monkeypatch.setattr("pathlib.Path.unlink", lambda path, missing_ok=False: None)  # killed before that
    home.check_writable()
    monkeypatch.undo()
    assert len(list(home.root.rglob(".writable*"))) == 3
    home.tidy()
    assert list(home.root.rglob(".writable*")) == []


def test_temporary_files_are_in_the_home_while_a_command_works_and_gone_after_it(home):
    before = tempfile.gettempdir(), os.environ.get("TMPDIR")
    with home.scratch():
        inside = tempfile.mkdtemp()
        assert inside.startswith(str(home.root))
        assert os.environ["TMPDIR"] == str(home.root / ".cache" / "tmp" / str(os.getpid()))
    assert list((home.root / ".cache" / "tmp").iterdir()) == []
    assert (tempfile.gettempdir(), os.environ.get("TMPDIR")) == before


def test_a_file_that_cannot_be_put_in_its_place_leaves_nothing_beside_it(tmp_path):
    in_the_way = tmp_path / "report.html"
    (in_the_way / "folder").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        write_atomically(in_the_way, "page")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
