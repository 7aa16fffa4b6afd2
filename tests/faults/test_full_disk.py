"""A disk that fills up, at several sizes: one line, and with more room the same command gives an undisturbed sweep."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from budget import note, within_budget
from commands import Commands, Undisturbed
from homes import contents, differences, left_over

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(0),
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="mounting a tmpfs needs root"),
]
SIZES = 10


def used(folder: Path) -> int:
    """Bytes in 4 KiB blocks, as a tmpfs counts."""
    return sum(-(-p.stat().st_size // 4096) * 4096 + 4096 for p in folder.rglob("*"))


def wrong_on(size: int, warm: Path, undisturbed: Undisturbed, commands: Commands) -> tuple[list[str], int]:
    """What is not as promised on a disk of so many bytes; and how the sweep ended there."""
    disk = commands.folder / f"disk-{size}"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], check=True)
    try:
        home = disk / "home"
        shutil.copytree(warm, home, ignore=shutil.ignore_patterns("ready"))
        full = undisturbed.again(commands, home)
        wrong = [] if full.in_one_line else [f"ends with {full.status}: {full.said[-1000:]}"]
        wrong += [f"left over: {name}" for name in left_over(home) if ".cache/tmp" not in name]
        subprocess.run(["mount", "-o", "remount,size=1g", disk], check=True)
        mended = undisturbed.again(commands, home)
        if mended.status != 0:
            wrong.append(f"with room it ends with {mended.status}: {mended.said[-1000:]}")
        wrong += differences(undisturbed.contents, contents(home))
    finally:
        subprocess.run(["umount", disk], check=True)
    return [f"{size / 2**20:.2f} MB: {line}" for line in wrong], full.status


def ten_sizes(warm: Path, undisturbed: Undisturbed, commands: Commands, test: str) -> None:
    """Sizes between nothing is left and enough."""
    least, enough = used(warm), used(undisturbed.home)
    sizes = [int(least + (enough - least) * (n + 0.5) / SIZES) for n in range(SIZES)]
    wrong, statuses = [], []
    for n, size in enumerate(within_budget(sizes), start=1):
        found, status = wrong_on(size, warm, undisturbed, commands)
        statuses.append(status)
        wrong += found
        note(test=test, cases=n, of=SIZES, size=size, statuses=statuses, wrong=len(wrong), last=found[:3])
    assert wrong == []
    assert 2 in statuses


def test_ten_sizes_under_a_brief_sweep(warm_root, brief, commands):
    ten_sizes(warm_root, brief, commands, "full disk, brief sweep")


def test_ten_sizes_under_a_whole_sweep(warm_root, undisturbed, commands):
    ten_sizes(warm_root, undisturbed, commands, "full disk, whole sweep")
