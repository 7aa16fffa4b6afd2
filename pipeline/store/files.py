"""Files written so that a reader, or a process killed half-way, sees the old or the new. Knows bytes and JSON."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipeline.errors import HomeError


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file so that a reader, or a process killed half-way, sees the old one or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def is_left_over(path: Path) -> bool:
    """Whether a temporary file `.<name>.<process>.tmp` is of a process of this machine that is no more."""
    process = path.name.removesuffix(".tmp").rpartition(".")[2]
    return process.isdecimal() and not process_is_there(int(process))


def process_is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # somebody else's
        pass
    return True


def write_json(path: Path, value: Any) -> None:
    """JSON with sorted keys, written atomically; nan and infinity are refused."""
    write_atomically(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def sync(path: Path) -> None:
    """Bring a file's bytes, or a directory's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def try_lock(path: Path, busy: str) -> FileLock:
    """Take the lock file `path` at once; HomeError with the text `busy` if another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise HomeError(busy) from None
    return lock
