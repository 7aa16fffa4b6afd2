"""Content-addressed results: a key maps to a directory that is whole or absent. Knows nothing of what is inside.

<root>/<stage>/<key>/            the result, with manifest.json (file sizes and SHA-256)
<root>/partial/<stage>-<key>/    where it is being built; survives kill -9, so that a stage can go on from it
<root>/locks/<stage>-<key>.lock  held while building, so that two processes never build the same thing twice
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock

from pipeline.store.files import read_json, sha256, write_json

MANIFEST = "manifest.json"

KEY_LENGTH = 16
"""Hex digits of a key in file names: 64 bits: among a million results two meet with p < 1e-7."""


@dataclass(frozen=True)
class Store:
    """The stage store under `root`."""

    root: Path

    def path(self, stage: str, key: str) -> Path:
        """Where the result of that key is, or would be."""
        return self.root / stage / key[:KEY_LENGTH]

    def partial(self, stage: str, key: str) -> Path:
        """Where an unfinished build of that key keeps its files."""
        return self.root / "partial" / f"{stage}-{key[:KEY_LENGTH]}"

    def has(self, stage: str, key: str) -> bool:
        return (self.path(stage, key) / MANIFEST).exists()

    def build(
        self,
        stage: str,
        key: str,
        make: Callable[[Path], None],
        *,
        inputs: Any = None,
        resumable: bool = False,
        force: bool = False,
        wait: float = -1,
    ) -> tuple[Path, bool]:
        """The directory of `key`, made by `make(workdir)` if it is absent; and whether it was made now.

        `make` fills a directory of its own, which then appears under its final name in one rename. If it raises or
        the process dies, nothing appears; a `resumable` stage finds what it had written there the next time.
        """
        building = self.begin(stage, key, inputs=inputs, resumable=resumable, force=force, wait=wait)
        if building is None:
            return self.path(stage, key), False
        with building:
            make(building.work)
        return building.final, True

    def begin(
        self,
        stage: str,
        key: str,
        *,
        inputs: Any = None,
        resumable: bool = False,
        force: bool = False,
        wait: float = -1,
    ) -> "Building | None":
        """The same in two steps, for who builds several results at once: None if it is there, else a `with` block to
        fill `.work` in. The key is locked from here to the end of the block."""
        if self.has(stage, key) and not force:
            return None
        lock = self.lock(f"{stage}-{key[:KEY_LENGTH]}", wait=wait)
        lock.acquire()
        try:
            if self.has(stage, key) and not force:  # somebody else made it while we waited
                lock.release()
                return None
            work = self.partial(stage, key)
            if work.exists() and (not resumable or force):
                shutil.rmtree(work)
            work.mkdir(parents=True, exist_ok=True)
            for torn in (*work.rglob(".*.tmp"), *work.glob(MANIFEST)):  # what a kill left that no stage goes on from
                torn.unlink()
        except BaseException:
            lock.release()
            raise
        return Building(stage, key, inputs, work, self.path(stage, key), lock)

    def damaged(self, stage: str, key: str) -> list[str]:
        """Files of a result whose bytes no longer match its manifest."""
        folder = self.path(stage, key)
        files = read_json(folder / MANIFEST)["files"]
        return [
            name
            for name, fact in files.items()
            if not (folder / name).is_file() or sha256(folder / name) != fact["sha256"]
        ]

    def keys(self, stage: str) -> Iterator[str]:
        """The full keys of every finished result of a stage."""
        for manifest in sorted((self.root / stage).glob(f"*/{MANIFEST}")):
            yield read_json(manifest)["key"]

    def lock(self, name: str, *, wait: float = -1) -> FileLock:
        """A lock between processes, let go by the system when its holder dies; waits `wait` seconds, -1 for ever."""
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{name}.lock", timeout=wait)


@dataclass
class Building:
    """A result under construction, locked: its directory appears when the block ends without an exception."""

    stage: str
    key: str
    inputs: Any
    work: Path
    """Where to write."""
    final: Path
    """Where it will be."""
    lock: FileLock
    started: float = field(default_factory=time.time)

    def __enter__(self) -> "Building":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._publish()
        finally:
            self.lock.release()

    def _publish(self) -> None:
        work, final = self.work, self.final
        files = {
            str(p.relative_to(work)): {"bytes": p.stat().st_size, "sha256": sha256(p)}
            for p in sorted(work.rglob("*"))
            if p.is_file()
        }
        write_json(
            work / MANIFEST,
            {
                "stage": self.stage,
                "key": self.key,
                "inputs": self.inputs,
                "files": files,
                "finished_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "seconds": round(time.time() - self.started, 3),
            },
        )
        final.parent.mkdir(parents=True, exist_ok=True)
        old = work.with_name(f"{work.name}.old")
        if final.exists():  # forced: the old result goes only now that the new one is whole, and in one rename too
            shutil.rmtree(old, ignore_errors=True)
            os.rename(final, old)
        os.rename(work, final)
        shutil.rmtree(old, ignore_errors=True)
