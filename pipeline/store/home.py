"""The directories of one installation, and whether they can be written."""

import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import HomeError
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
                probe = folder / f".writable-{os.getpid()}"
                probe.touch()
                probe.unlink()
            except OSError as error:
                raise HomeError(
                    f"{folder} cannot be written ({error.strerror}); change to a directory you own, "
                    "or set CVAE_PIPE_HOME to one"
                ) from None
