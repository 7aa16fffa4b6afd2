"""The store: whole or absent whatever happens, built once, found again."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import Timeout

from pipeline.errors import HomeError
from pipeline.store.files import read_json, sha256, try_lock, write_atomically, write_json
from pipeline.store.home import Home
from pipeline.store.store import MANIFEST, SMALL, Store

KEY = "ab" * 32


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def write(text):
    """A `make` that leaves one file."""
    return lambda work: (work / "result.txt").write_text(text)


def start_python(program: str, *arguments: object) -> subprocess.Popen:
    preamble = "import os, sys, time\nfrom pathlib import Path\nfrom pipeline.store.store import Store\n"
    return subprocess.Popen([sys.executable, "-c", preamble + program, *map(str, arguments)], stderr=subprocess.PIPE)


def wait_for(path, process):
    deadline = time.monotonic() + 30
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


# ---- what is built


def test_a_result_is_built_once_and_found_from_then_on(store):
    folder, made = store.build("train", KEY, write("one"))
    assert made
    assert (folder / "result.txt").read_text() == "one"
    assert store.has("train", KEY)
    assert store.build("train", KEY, write("two")) == (folder, False)
    assert (folder / "result.txt").read_text() == "one"
    assert list(store.keys("train")) == [KEY]
    assert list(store.keys("score")) == []


def test_a_result_carries_its_key_its_inputs_and_the_hash_of_every_file(store):
    def make(work):
        write("one")(work)
        (work / "grids").mkdir()
        (work / "grids" / "a.png").write_bytes(b"png")

    folder, _ = store.build("train", KEY, make, inputs={"prepare": "cd"})
    manifest = read_json(folder / MANIFEST)
    assert (manifest["stage"], manifest["key"], manifest["inputs"]) == ("train", KEY, {"prepare": "cd"})
    assert manifest["files"] == {
        "grids/a.png": {"bytes": 3, "sha256": sha256(folder / "grids" / "a.png")},
        "result.txt": {"bytes": 3, "sha256": sha256(folder / "result.txt")},
    }
    assert sha256(folder / "result.txt") == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"


def test_stages_and_keys_do_not_meet(store):
    store.build("train", KEY, write("one"))
    assert not store.has("score", KEY)
    assert not store.has("train", "cd" * 32)


def test_a_finished_build_leaves_nothing_behind_but_its_result(store):
    store.build("train", KEY, write("one"))
    assert list((store.root / "partial").iterdir()) == []


# ---- what goes wrong


def test_an_exception_in_mid_build_leaves_no_result(store):
    def make(work):
        write("half")(work)
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        store.build("train", KEY, make)
    assert not store.has("train", KEY)
    assert not store.path("train", KEY).exists()
    folder, made = store.build("train", KEY, write("whole"))
    assert made
    assert (folder / "result.txt").read_text() == "whole"


def test_a_resumable_build_finds_what_the_interrupted_one_wrote_and_others_start_clean(store):
    def interrupted(work):
        (work / "checkpoint").write_text("epoch 3")
        raise KeyboardInterrupt

    seen = []

    def second(work):
        seen.append(sorted(p.name for p in work.iterdir()))
        write("whole")(work)

    for resumable in (True, False):
        key = KEY if resumable else "cd" * 32
        with pytest.raises(KeyboardInterrupt):
            store.build("train", key, interrupted, resumable=resumable)
        store.build("train", key, second, resumable=resumable)
    assert seen == [["checkpoint"], []]


def test_force_does_not_go_on_from_an_unfinished_build(store):
    with pytest.raises(ZeroDivisionError):
        store.build("train", KEY, lambda work: (work / "checkpoint").touch() or 1 / 0, resumable=True)
    store.build("train", KEY, lambda work: write(str(list(work.iterdir())))(work), resumable=True, force=True)
    assert (store.path("train", KEY) / "result.txt").read_text() == "[]"


def test_a_killed_process_leaves_no_result_and_its_work_is_found_again(store):
    process = start_python(
        "def make(work):\n"
        "    (work / 'checkpoint').write_text('epoch 3')\n"
        "    time.sleep(60)\n"
        "Store(Path(sys.argv[1])).build('train', sys.argv[2], make, resumable=True)\n",
        store.root,
        KEY,
    )
    checkpoint = store.partial("train", KEY) / "checkpoint"
    wait_for(checkpoint, process)
    assert not store.has("train", KEY)
    with pytest.raises(Timeout):
        store.build("train", KEY, write("while it is being built elsewhere"), wait=0)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stderr.close()
    assert not store.has("train", KEY)
    assert list(store.keys("train")) == []

    folder, made = store.build(
        "train", KEY, lambda work: write((work / "checkpoint").read_text())(work), resumable=True, wait=5
    )
    assert made
    assert (folder / "result.txt").read_text() == "epoch 3"


def test_what_a_kill_tore_or_finished_too_early_is_not_part_of_the_result(store):
    work = store.partial("train", KEY)
    work.mkdir(parents=True)
    (work / ".checkpoint.pt.123.tmp").write_text("half a checkpo")
    (work / MANIFEST).write_text('{"files": {}}')
    folder, made = store.build("train", KEY, write("whole"), resumable=True)
    assert made
    assert sorted(p.name for p in folder.iterdir()) == [MANIFEST, "result.txt"]
    assert store.damaged("train", KEY) == []


def test_two_processes_that_want_the_same_key_build_it_once(store, tmp_path):
    program = (
        "def make(work):\n"
        "    with open(sys.argv[3], 'a') as log: log.write(f'{os.getpid()}\\n')\n"
        "    time.sleep(0.5)\n"
        "    (work / 'result.txt').write_text(str(os.getpid()))\n"
        "Path(sys.argv[4] + str(os.getpid())).touch()\n"
        "while len(list(Path(sys.argv[4]).parent.glob('ready*'))) < 2: time.sleep(0.01)\n"
        "Store(Path(sys.argv[1])).build('train', sys.argv[2], make)\n"
    )
    log = tmp_path / "log"
    both = [start_python(program, store.root, KEY, log, tmp_path / "ready") for _ in range(2)]
    for process in both:
        assert process.wait(30) == 0, process.stderr.read()
        process.stderr.close()
    assert log.read_text().split() == [(store.path("train", KEY) / "result.txt").read_text()]


# ---- force and damage


def test_force_replaces_a_result(store):
    store.build("train", KEY, lambda work: (work / "old.txt").touch())
    folder, made = store.build("train", KEY, write("two"), force=True)
    assert made
    assert sorted(p.name for p in folder.iterdir()) == [MANIFEST, "result.txt"]


def test_a_forced_build_that_fails_keeps_the_old_result(store):
    folder, _ = store.build("train", KEY, write("one"))
    with pytest.raises(ZeroDivisionError):
        store.build("train", KEY, lambda work: 1 / 0, force=True)
    assert (folder / "result.txt").read_text() == "one"
    assert store.damaged("train", KEY) == []


def test_a_kill_while_the_old_result_is_removed_leaves_a_whole_one(store, monkeypatch):
    store.build("train", KEY, lambda work: [(work / f"{i}.txt").touch() for i in range(3)])

    def killed_half_way(folder, **options):
        if folder.exists():
            next(p for p in folder.iterdir() if p.name != MANIFEST).unlink()
            raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", killed_half_way)
    with pytest.raises(KeyboardInterrupt):
        store.build("train", KEY, write("two"), force=True)
    assert store.has("train", KEY)
    assert store.damaged("train", KEY) == []


def three_files(work):
    for name, size in {"small.json": 100, "large.bin": 2 * SMALL, "other.bin": 100}.items():
        (work / name).write_bytes(bytes(size))


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def remove(path):
    path.unlink()


@pytest.mark.parametrize("harm", [flip, truncate, remove])
@pytest.mark.parametrize("name", ["small.json", "large.bin", MANIFEST])
def test_a_damaged_result_is_set_aside_with_a_word_and_built_anew(store, name, harm, caplog):
    folder, _ = store.build("train", KEY, three_files)
    assert store.damaged("train", KEY, thoroughly=True) == []
    if name == MANIFEST and harm is flip:
        (folder / MANIFEST).write_text((folder / MANIFEST).read_text().replace('"sha256"', '"sha255"'))
    else:
        harm(folder / name)
    assert store.damaged("train", KEY, thoroughly=True) == [name]
    seen_at_once = not (name == "large.bin" and harm is flip)  # of large files the size, until they are used
    assert store.has("train", KEY) is not seen_at_once
    assert store.build("train", KEY, three_files) == (folder, True)
    assert store.damaged("train", KEY, thoroughly=True) == []
    if not (name == MANIFEST and harm is remove):  # that is no result, and was none before
        [message] = [record.getMessage() for record in caplog.records]
        assert f"train {folder.name} is damaged ({name}): set aside as" in message
    assert [path.name for path in (store.root / "damaged").iterdir()] == [f"train-{folder.name}.1"]
    caplog.clear()
    assert store.build("train", KEY, three_files) == (folder, False)
    assert caplog.records == []


def test_damage_once_more_is_set_aside_beside_the_first(store):
    for _ in range(2):
        folder, _ = store.build("train", KEY, write("one"))
        truncate(folder / "result.txt")
    store.build("train", KEY, write("one"))
    assert len(list((store.root / "damaged").iterdir())) == 2


def test_the_keys_of_a_stage_leave_out_what_is_damaged(store):
    other = "cd" * 32
    folder, _ = store.build("run", KEY, write("one"))
    store.build("run", other, write("two"))
    assert list(store.keys("run")) == [KEY, other]
    truncate(folder / MANIFEST)
    assert list(store.keys("run")) == [other]
    (folder / MANIFEST).write_text("[]")
    assert list(store.keys("run")) == [other]


def test_a_result_that_is_built_anew_on_purpose_is_not_called_damaged(store, caplog):
    store.build("train", KEY, write("one"))
    store.build("train", KEY, write("two"), force=True)
    assert caplog.records == []
    assert not (store.root / "damaged").exists()


# ---- files


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_json(path, {"epoch": 1})
    monkeypatch.setattr("os.replace", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_atomically(path, "half")
    assert json.loads(path.read_text()) == {"epoch": 1}


def test_json_refuses_what_json_does_not_have(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


# ---- homes


def test_a_home_is_the_current_directory_unless_the_environment_names_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CVAE_PIPE_HOME", raising=False)
    monkeypatch.delenv("CVAE_PIPE_DATA_DIR", raising=False)
    assert Home.from_environment() == Home(tmp_path.resolve(), tmp_path.resolve() / "data")
    monkeypatch.setenv("CVAE_PIPE_HOME", "elsewhere")
    monkeypatch.setenv("CVAE_PIPE_DATA_DIR", "images")
    assert Home.from_environment() == Home(tmp_path.resolve() / "elsewhere", tmp_path.resolve() / "images")


def test_a_writable_home_keeps_no_trace_of_the_check(tmp_path):
    home = Home(tmp_path / "home", tmp_path)
    home.check_writable()
    assert sorted(p.name for p in home.root.rglob("*")) == [".cache", "mlruns", "reports"]


def test_a_home_below_a_file_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(HomeError, match=r"file/home/\.cache cannot be written \(Not a directory\); .*CVAE_PIPE_HOME"):
        Home(tmp_path / "file" / "home", tmp_path).check_writable()


def test_what_is_to_be_done_is_what_mends_it(tmp_path, monkeypatch):
    home = Home(tmp_path / "home", tmp_path)
    home.root.mkdir()
    home.reports.touch()
    with pytest.raises(HomeError, match=r"reports cannot be written \(File exists\); a file .*; move it away"):
        home.check_writable()

    def full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "touch", full)
    with pytest.raises(HomeError, match=r"\(No space left on device\); make room \(`cvae-pipe gc`"):
        home.check_writable()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody who may not write")
def test_a_home_without_the_right_to_write_is_refused(tmp_path):
    os.seteuid(65534)
    try:
        with pytest.raises(HomeError, match=r"cannot be written \(Permission denied\)"):
            Home(tmp_path / "home", tmp_path).check_writable()
    finally:
        os.seteuid(0)


def test_a_lock_that_another_process_holds_is_refused_with_the_given_words(tmp_path):
    process = start_python(
        "from pipeline.store.files import try_lock\n"
        "lock = try_lock(Path(sys.argv[1]), 'busy')\n"
        "Path(sys.argv[2]).touch()\n"
        "time.sleep(60)\n",
        tmp_path / "study.lock",
        tmp_path / "held",
    )
    wait_for(tmp_path / "held", process)
    with pytest.raises(HomeError, match="the study is open elsewhere"):
        try_lock(tmp_path / "study.lock", "the study is open elsewhere")
    process.kill()
    process.wait()
    process.stderr.close()
    try_lock(tmp_path / "study.lock", "free again").release()
