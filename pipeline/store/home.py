"""The directories of one installation, and whether they can be written."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import HomeError
from pipeline.store.files import is_left_over, process_is_there
from pipeline.store.store import Store


@dataclass(frozen=True)
class Home:
    """The directories of one installation: mlruns, reports, data and the stage store under one root."""

    root: Path
    data_dir: Path

    @staticmethod
    def from_environment() -> "Home":
        """CVAE_PIPE_HOME or the current directory; CVAE_PIPE_DATA_DIR or <home>/data."""
        root = Path(os.environ.get("CVAE_PIPE_HOME") or Path.cwd()).expanduser().resolve()
        data = os.environ.get("CVAE_PIPE_DATA_DIR")
        return Home(root, Path(data).expanduser().resolve() if data else root / "data")

    @property
    def store(self) -> "Store":
        return Store(self.root / ".cache" / "store")

    @property
    def mlruns(self) -> Path:
        return self.root / "mlruns"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    def check_writable(self) -> None:
        """HomeError unless the state directories can be made and written."""
        for folder in (self.root / ".cache", self.mlruns, self.reports):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                probe = folder / f".writable.{os.getpid()}.tmp"
                probe.touch()
                probe.unlink()
            except OSError as error:
                raise HomeError(f"{folder} cannot be written ({error.strerror}); {_what_mends(error)}") from None

    def tidy(self) -> None:
        """Remove temporary files of processes that were killed; a result under construction keeps what it can go on
        from."""
        scratch = self.root / ".cache" / "tmp"
        for folder in scratch.glob("*"):
            if folder.name.isdecimal() and not process_is_there(int(folder.name)):
                shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # what is in the way is somebody else's to say
            for temporary in (
                *self.reports.rglob(".*.tmp"),
                *self.mlruns.glob(".*.tmp"),
                *(self.root / ".cache").glob(".*.tmp"),
                *(self.store.root / "partial").glob("*/.*.tmp"),
            ):
                if is_left_over(temporary):
                    temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[None]:
        """Inside, this process and those it starts keep temporary files in a folder of this home. It goes at the
        end, or with the next command if the process is killed."""
        folder = self.root / ".cache" / "tmp" / str(os.getpid())
        folder.mkdir(parents=True, exist_ok=True)
        before = tempfile.tempdir, os.environ.get("TMPDIR")
        tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
        try:
            yield
        finally:
            tempfile.tempdir = before[0]
            os.environ.pop("TMPDIR")
            os.environ |= {"TMPDIR": before[1]} if before[1] else {}
            shutil.rmtree(folder, ignore_errors=True)


def _what_mends(error: OSError) -> str:
    """What to do where a folder of the home cannot be written."""
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return "a file is where a folder has to be; move it away, or set CVAE_PIPE_HOME to another folder"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "make room (`cvae-pipe gc` says how much it can), or set CVAE_PIPE_HOME to a folder on another disk"
    return "change to a directory you own, or set CVAE_PIPE_HOME to one"
