"""Bit flips, truncations and removals in every kind of file of a home, found by walking it: named, healed or refused.

What the store and the reports hold is healed by the same sweep, and the home is then an undisturbed one. Databases and
MLflow's copies carry no hashes: there the promise is one line.
"""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from budget import SEED, note, within_budget
from commands import Commands, Undisturbed
from homes import contents, differences
from points import VARIABLE

from pipeline.store.files import read_json
from pipeline.store.store import KEY_LENGTH


def flipped(path: Path, at: float) -> None:
    """One bit of the file turned over."""
    content = bytearray(path.read_bytes())
    if content:
        content[int(at * (len(content) - 1))] ^= 4
    path.write_bytes(content)


def truncated(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def replaced_by_folder(path: Path) -> None:
    path.unlink()
    (path / "in the way").mkdir(parents=True)


def replaced_by_file(path: Path) -> None:
    shutil.rmtree(path)
    path.touch()


OF_FILES: dict[str, Callable[[Path], None]] = {
    "a bit near its start": lambda path: flipped(path, 0.02),
    "a bit in its middle": lambda path: flipped(path, 0.5),
    "half of it": lambda path: truncated(path, 0.5),
    "empty": lambda path: truncated(path, 0.0),
    "gone": Path.unlink,
    "a folder in its place": replaced_by_folder,
}
OF_FOLDERS: dict[str, Callable[[Path], None]] = {
    "a file in its place": replaced_by_file,
    "gone": shutil.rmtree,
}


def kinds(home: Path) -> dict[str, Path]:
    """One file or folder of each kind, by its path without what varies."""
    found: dict[str, Path] = {}
    for path in sorted(home.rglob("*")):
        found.setdefault(VARIABLE.sub("*", str(path.relative_to(home))), path.relative_to(home))
    return found


def damages(home: Path) -> list[tuple[str, str]]:
    """(path, damage) for every kind of file and folder in a home."""
    found = []
    for path in kinds(home).values():
        found += [(str(path), name) for name in (OF_FOLDERS if (home / path).is_dir() else OF_FILES)]
    return found


def wrong_after(path: str, damage: str, undisturbed: Undisturbed, commands: Commands) -> list[str]:
    """What is not as promised when the undisturbed home is damaged there; it is put back in the end."""
    home, whole = undisturbed.home, commands.folder / f"{undisturbed.home.name}-whole"
    if not whole.exists():
        shutil.copytree(home, whole)
    (OF_FOLDERS if (home / path).is_dir() else OF_FILES)[damage](home / path)
    wrong = []
    looks = [["status"], *([] if undisturbed.quiet else [["verify", home / "reports" / "s"]])]
    for arguments in (*looks, undisturbed.arguments):
        ended = commands.call(home, *arguments, quiet=undisturbed.quiet)
        if not ended.in_one_line:
            wrong.append(f"{arguments[0]} ends with {ended.status}: {ended.said[-600:]}")
        if arguments[0] == "verify" and ended.status == 0 and path.startswith("reports/s/") and path in SEALED:
            wrong.append("verify finds nothing")
    if path.startswith((".cache", "reports")) and ended.status == 0:
        spare = not rests_on(whole, path)
        found = differences(undisturbed.contents, contents(home))
        wrong += [line for line in found if not (spare and entry(path) in line)]
    elif path.startswith((".cache/store", "reports/s")):
        wrong += (
            [] if damage in ("a file in its place", "a folder in its place") else [f"not healed: {ended.said[-300:]}"]
        )
    put_back(whole, home)
    return [f"{path}, {damage}: {line}" for line in wrong]


def put_back(whole: Path, home: Path) -> None:
    """Make `home` what `whole` is again, at the same path, since databases know it; what did not change stays."""
    for path in sorted(home.rglob("*"), reverse=True):  # what is in a folder before the folder
        there = whole / path.relative_to(home)
        if path.is_dir() and not path.is_symlink():
            if not there.is_dir():
                path.rmdir()
        elif not there.is_file() or stamp(path) != stamp(there):
            path.unlink()
    for path in sorted(whole.rglob("*")):
        here = home / path.relative_to(whole)
        if path.is_dir():
            here.mkdir(exist_ok=True)
        elif not here.exists():
            shutil.copy2(path, here)


def stamp(path: Path) -> tuple[int, int]:
    """Size and time of the last change, which a copy keeps."""
    stat = path.lstat()
    return stat.st_size, stat.st_mtime_ns


def entry(path: str) -> str:
    """The store entry that a path is in or is: .cache/store/<stage>/<key>."""
    return "/".join(Path(path).parts[:4])


def rests_on(home: Path, path: str) -> bool:
    """Whether a run of the study consists of that entry; others, such as scores at a rung or a judge before it was put
    together, are built anew by whoever asks for them, which nobody does once all is finished."""
    runs = [read_json(run) for run in home.glob(".cache/store/run/*/run.json")]
    parts = {f".cache/store/{stage}/{key[:KEY_LENGTH]}" for run in runs for stage, key in run["stages"].items()}
    return not path.startswith(".cache/store/") or entry(path) in parts or path.startswith(".cache/store/run")


SEALED = ("reports/s/report.html", "reports/s/report.md", "reports/s/trials.csv")


def test_what_is_damaged_is_healed(brief, commands):
    """The short form: one damage of those that a walk finds."""
    in_the_store = [d for d in damages(brief.home) if d[0].startswith(".cache/store/train")]
    assert wrong_after(*random.Random(SEED).choice(in_the_store), brief, commands) == []


def all_damages(every: list[tuple[str, str]], undisturbed: Undisturbed, commands: Commands, test: str) -> list[str]:
    """What is wrong after as many of these as there is time for, in an order of chance."""
    random.Random(SEED).shuffle(every)
    wrong = []
    for n, (path, damage) in enumerate(within_budget(every), start=1):
        found = wrong_after(path, damage, undisturbed, commands)
        wrong += found
        note(test=test, cases=n, of=len(every), wrong=len(wrong), last=found[:3])
    return wrong


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_every_kind_of_file_and_folder_of_a_brief_sweep_damaged_in_every_way(brief, commands):
    """All but its report, which is none."""
    every = [d for d in damages(brief.home) if not d[0].startswith("reports")]
    assert all_damages(every, brief, commands, "damage, brief sweep") == []


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_every_kind_of_file_and_folder_that_only_a_whole_sweep_has_damaged_in_every_way(undisturbed, brief, commands):
    known = {kind for kind in kinds(brief.home) if not kind.startswith("reports")}
    others = {str(path) for kind, path in kinds(undisturbed.home).items() if kind not in known}
    every = [d for d in damages(undisturbed.home) if d[0] in others]
    assert all_damages(every, undisturbed, commands, "damage, whole sweep") == []
