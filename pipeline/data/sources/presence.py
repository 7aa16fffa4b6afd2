"""Whether there is anything at a path that was typed as a data set. Knows names and paths; needs no torch."""

import difflib
from pathlib import Path

from pipeline.config.sections import DATASETS, is_path
from pipeline.errors import ConfigError, DataError


def whole_path(path: str) -> Path:
    """The whole path; ConfigError for what is neither a known name nor a path, DataError where there is nothing."""
    whole = Path(path).expanduser()
    try:
        there = whole.exists()
    except OSError as error:
        raise DataError(f"{path[:80]} .. cannot be read ({error.strerror})") from None
    if not there:
        near = difflib.get_close_matches(path, DATASETS, 1)
        if is_path(path):
            raise DataError(f"there is nothing at {path}; name a folder with a sub-folder per class, or an .npz file")
        raise ConfigError(
            f"data.dataset is {path!r}; it must be one of {', '.join(DATASETS)}, or the path to a folder of images or "
            f"an .npz file{f'; did you mean {near[0]}?' if near else ''}"
        )
    return whole.resolve()
