"""Who writes a study: one process at a time."""

from filelock import FileLock

from pipeline.store.files import try_lock
from pipeline.store.home import Home


def study_lock(home: Home, name: str) -> FileLock:
    """Held by the one process that writes a study; HomeError if another does."""
    return try_lock(
        home.mlruns / f".study-{name}.lock",
        f"study {name} is being driven by another process; wait for it, or choose another --name",
    )
