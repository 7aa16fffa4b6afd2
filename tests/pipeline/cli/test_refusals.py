"""What the system refuses is one line, exit code 2, whichever command meets it, and nothing else is taken for that."""

import errno
import os

import pytest

from pipeline.cli.session import refusals_in_one_line
from pipeline.errors import CvaePipeError

NUMBERS = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT, errno.EIO, errno.EMFILE, errno.ESTALE, errno.ENOSPC)


@pytest.mark.parametrize("number", NUMBERS, ids=lambda n: errno.errorcode[n])
def test_an_error_of_a_file_is_one_line_that_names_it(number):
    with (
        pytest.raises(CvaePipeError, match=r"^/home/mlruns cannot be (written|used) \(.+\)") as error,
        refusals_in_one_line(),
    ):
        raise OSError(number, os.strerror(number), "/home/mlruns")
    assert "\n" not in str(error.value)


def test_of_a_rename_the_target_is_named_where_that_is_in_the_way(tmp_path):
    (tmp_path / "report.html").mkdir()
    (tmp_path / "new").touch()
    with pytest.raises(CvaePipeError, match=r"report\.html cannot be used \(Is a directory\)"), refusals_in_one_line():
        os.rename(tmp_path / "new", tmp_path / "report.html")


def test_no_memory_is_one_line_and_an_error_that_is_no_files_passes():
    with pytest.raises(CvaePipeError, match="not enough memory"), refusals_in_one_line():
        raise MemoryError
    with pytest.raises(TimeoutError), refusals_in_one_line():
        raise TimeoutError("of a connection")


@pytest.mark.parametrize("place", [".cache", ".cache/store", ".cache/store/locks", "mlruns", "reports", ".cache/tmp"])
def test_a_file_where_a_directory_should_be(place, home, command):
    path = home.root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    code, out, errors = command("prepare", "--dataset", "digits")
    assert (code, out) == (2, "")
    [line] = errors.splitlines()
    assert line.startswith("error: ")
    assert str(path) in line
