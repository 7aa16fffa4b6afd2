"""Content-addressed results: a key maps to a directory that is whole or absent. Knows nothing of what is inside.

<root>/<stage>/<key>/            the result, with manifest.json (file sizes and SHA-256)
<root>/partial/<stage>-<key>/    where it is being built; survives kill -9, so that a stage can go on from it
<root>/damaged/<stage>-<key>.N/  a result whose bytes were no longer what was written, set aside when it was built anew
<root>/locks/<stage>-<key>.lock  held while building, so that two processes never build the same thing twice
"""

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock

from pipeline.store.files import read_json, sha256, sync, write_json
from pipeline.store.transfer import Packed

MANIFEST = "manifest.json"

SMALL = 2**20
"""Bytes of a file up to which its hash is compared whenever its result is looked for; of larger ones the size, and the
hash when the result is used by a stage, once per process, or when somebody asks."""

log = logging.getLogger("cvae-pipe")

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
        """Whether the result is there and whole: every file of the size, small ones of the hash, that was written."""
        return (self.path(stage, key) / MANIFEST).exists() and not self.damaged(stage, key)

    def damaged(self, stage: str, key: str, *, thoroughly: bool = False) -> list[str]:
        """Files of a result that is there whose bytes no longer match its manifest; `thoroughly` by the hash of large
        ones, too. The manifest itself where it cannot be read."""
        folder = self.path(stage, key)
        try:
            files = read_json(folder / MANIFEST)["files"]
            facts = tuple((name, fact["bytes"], fact["sha256"]) for name, fact in files.items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return [MANIFEST]
        return [name for name, size, digest in facts if not _is_whole(folder / name, size, digest, thoroughly)]

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
        if not force and self._usable(stage, key):
            return None
        lock = self.lock(f"{stage}-{key[:KEY_LENGTH]}", wait=wait)
        lock.acquire()
        try:
            if not force and self._usable(stage, key):  # somebody else made it while we waited
                lock.release()
                return None
            self._set_aside(stage, key)
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

    def adopt(self, stage: str, key: str, folder: Path) -> bool:
        """Move a finished result of elsewhere in as it is, manifest and all, unless a whole one is there; whether it
        was. On the same file system, in one rename."""
        with self.lock(f"{stage}-{key[:KEY_LENGTH]}"):
            if self._usable(stage, key):
                return False
            self._put(stage, key, folder)
            sync(self.path(stage, key).parent)
        return True

    def receive(self, stage: str, key: str, files: Packed) -> None:
        """Take over a result that another store has made, manifest and all; one that is here and whole stays.

        Nothing waits for the disk: what a power failure leaves of it does not match the manifest, and is built anew.
        """
        if self.has(stage, key):
            return
        with self.lock(f"{stage}-{key[:KEY_LENGTH]}"):
            if self.has(stage, key):
                return
            work = self.partial(stage, key)
            shutil.rmtree(work, ignore_errors=True)
            for name, content in files.items():
                path = work / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self._put(stage, key, work)

    def _put(self, stage: str, key: str, folder: Path) -> None:
        """Make a folder of elsewhere the result, in one rename, a damaged one out of the way. Hold the lock."""
        self._set_aside(stage, key)
        final = self.path(stage, key)
        final.parent.mkdir(parents=True, exist_ok=True)
        os.rename(folder, final)

    def _usable(self, stage: str, key: str) -> bool:
        return (self.path(stage, key) / MANIFEST).exists() and not self.damaged(stage, key, thoroughly=True)

    def _set_aside(self, stage: str, key: str) -> None:
        """Move a damaged result out of the way, and say so; a whole one, built anew because it was asked for, stays."""
        folder = self.path(stage, key)
        if not folder.exists() or not (found := self.damaged(stage, key, thoroughly=True)):
            return
        number = 1
        while (aside := self.root / "damaged" / f"{folder.parent.name}-{folder.name}.{number}").exists():
            number += 1
        aside.parent.mkdir(parents=True, exist_ok=True)
        os.rename(folder, aside)
        log.warning("%s %s is damaged (%s): set aside as %s, built anew", stage, folder.name, ", ".join(found), aside)

    def keys(self, stage: str) -> Iterator[str]:
        """The full keys of every finished result of a stage; those that are damaged left out."""
        for manifest in sorted((self.root / stage).glob(f"*/{MANIFEST}")):
            if not self.damaged(stage, manifest.parent.name):
                yield read_json(manifest)["key"]

    def broken(self, stage: str) -> dict[str, list[str]]:
        """What `keys` leaves out: folder of a damaged result -> its files that are not what was written."""
        folders = [path for path in sorted((self.root / stage).glob("*")) if path.is_dir()]
        found = {folder.name: self.damaged(stage, folder.name) for folder in folders}
        return {name: files for name, files in found.items() if files}

    def lock(self, name: str, *, wait: float = -1) -> FileLock:
        """A lock between processes, let go by the system when its holder dies; waits `wait` seconds, -1 for ever."""
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{name}.lock", timeout=wait)


def _is_whole(path: Path, size: int, digest: str, thoroughly: bool) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    if found.st_size != size:
        return False
    return not (thoroughly or size <= SMALL) or _digest(path, found.st_size, found.st_mtime_ns) == digest


@lru_cache(maxsize=100_000)
def _digest(path: Path, size: int, changed: int) -> str:
    """A file's hash, taken once for as long as its size and its time of change are what they were."""
    return sha256(path)


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
        for name in files:  # on disk before the manifest that vouches for it
            sync(work / name)
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
        sync(work)
        final.parent.mkdir(parents=True, exist_ok=True)
        old = work.with_name(f"{work.name}.old")
        if final.exists():  # forced: the old result goes only now that the new one is whole, and in one rename too
            shutil.rmtree(old, ignore_errors=True)
            os.rename(final, old)
        os.rename(work, final)
        sync(final.parent)
        shutil.rmtree(old, ignore_errors=True)
