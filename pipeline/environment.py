"""What code and which packages ran: the commit, the versions. Knows git and this environment."""

import ctypes
import importlib.metadata
import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path


def _git(*arguments: str) -> str | None:
    """What git prints about the repository of this package, or else of the current directory."""
    for folder in (Path(__file__).parent, Path.cwd()):
        try:
            answer = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        if answer.returncode == 0:
            return answer.stdout.strip()
    return None


@cache
def git_commit() -> str | None:
    """The commit of the code at hand; None outside a repository, or before its first commit."""
    return _git("rev-parse", "--verify", "HEAD")


@cache
def git_dirty() -> bool:
    """Whether tracked files differ from that commit."""
    return bool(_git("status", "--porcelain", "--untracked-files=no"))


def code_version() -> str:
    """The code at hand in words: the package's version, and its commit where there is a repository."""
    version, commit = _version("cvae-pipe") or "not installed", git_commit() if _is_in_a_repository() else None
    return f"{version}, commit {commit[:12]}{' with changes' if git_dirty() else ''}" if commit else version


def _is_in_a_repository() -> bool:
    """Whether git keeps this very file: an installed copy may lie in an environment inside somebody's repository."""
    return _git("-C", str(Path(__file__).parent), "ls-files", "--error-unmatch", Path(__file__).name) is not None


@cache
def cpu_model() -> str:
    """What the CPU here calls itself; last bits of a result may differ between two kinds."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


PACKAGES = (
    "cvae-pipe",
    "torch",
    "torchvision",
    "numpy",
    "mlflow",
    "optuna",
    "pandas",
    "scipy",
    "scikit-learn",
    "torchmetrics",
    "safetensors",
    "matplotlib",
    "seaborn",
    "ray",
)


def core_versions() -> str:
    """What the numbers of a run hang on, in a few words."""
    return f"Python {platform.python_version()}, torch {_version('torch') or 'missing'}"


@cache
def environment_text() -> str:
    """Python, platform and the versions of the packages that decide results, a line each, for `environment.txt`."""
    lines = [f"python {platform.python_version()}", f"platform {platform.platform()}"]
    lines += [f"{package} {version}" for package in PACKAGES if (version := _version(package))]
    return "\n".join(lines) + "\n"


def versions() -> str:
    """One line: this package, and what its numbers hang on."""
    packages = [f"{name} {_version(name) or 'missing'}" for name in ("torch", "mlflow", "optuna")]
    driver = Path("/proc/driver/nvidia/version").exists()
    machine = f"{os.cpu_count()} cores of {platform.machine()}, {'an NVIDIA GPU' if driver else 'no NVIDIA GPU'}"
    return ", ".join([f"cvae-pipe {code_version()}", f"Python {platform.python_version()}", *packages, machine])


@cache
def without_gpu() -> bool:
    """Whether torch can see no GPU for certain, known without loading torch: there is no driver that it could ask."""
    if sys.platform == "darwin":
        return True
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(library)
    except OSError:
        return not Path("/dev/kfd").exists()  # AMD's
    return False


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
