"""What is wrong with an installation and its home, and the command that mends it. Reads everything, changes nothing.

Each check is a function of a home that yields findings; one that breaks is a finding itself, so that a broken part
hides no other.
"""

import base64
import importlib.metadata
import importlib.util
import os
import re
import shutil
import sqlite3
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from packaging.requirements import Requirement

from pipeline.config.flags import flags
from pipeline.config.sections import DATASETS
from pipeline.errors import CvaePipeError
from pipeline.reporting.html import unbroken
from pipeline.store.home import Home
from pipeline.store.store import MANIFEST
from pipeline.store.trash import pending
from pipeline.store.use import users
from pipeline.tracking.addresses import sqlite_file, tracking_uri
from pipeline.tracking.database import checked_uri, is_server, shown
from pipeline.tracking.rows import recorded_runs
from sweeps.keeping.holdings import Holdings
from sweeps.listing import STATES
from sweeps.study.reading import stored_studies

State = Literal["ok", "note", "warning", "wrong"]
ANSWER_SECONDS = 2
LOW_SPACE = 2 * 2**30
"""Bytes below which a sweep on MNIST with forty trials may not fit."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    check: str
    state: State
    """note: to be known; warning: may go wrong; wrong: does."""
    said: str
    mend: str = ""
    """The command that mends it, or what to do; "" where there is nothing to mend."""


@dataclass(frozen=True)
class Diagnosis:
    """Everything that was looked at, in order."""

    findings: tuple[Finding, ...]

    @property
    def well(self) -> bool:
        """Whether nothing is wrong; warnings are not."""
        return all(finding.state != "wrong" for finding in self.findings)

    def document(self) -> dict[str, Any]:
        return {"well": self.well, "findings": [asdict(finding) for finding in self.findings]}


def diagnose(home: Home, *, thoroughly: bool = False) -> Diagnosis:
    """Look at all of it; `thoroughly`: the hash of every stored file, too."""
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "environment": environment,
        "permissions": lambda: permissions(home),
        "work": lambda: work(home),
        "store": lambda: store(home, thoroughly=thoroughly),
        "studies": lambda: ledger(home),
        "data": lambda: data(home),
        "reports": lambda: reports(home),
        "tracker": lambda: tracker(home),
        "proxy": lambda: proxy(home),
    }
    found: list[Finding] = []
    for name, check in checks.items():
        try:
            own = list(check())
        except (CvaePipeError, OSError, ValueError, KeyError, sqlite3.Error) as error:
            own = [Finding(name, "wrong", " ".join(str(error).split()) or type(error).__name__)]
        found += own or [Finding(name, "ok", "nothing wrong")]
    return Diagnosis(tuple(found))


# ---- here ----------------------------------------------------------------------------------------------------------


def environment() -> Iterator[Finding]:
    """Python and the packages against what this package asks for."""
    try:
        asked = [Requirement(line) for line in importlib.metadata.requires("cvae-pipe") or ()]
    except importlib.metadata.PackageNotFoundError:
        yield Finding("environment", "warning", "cvae-pipe is not installed, only run", "pip install -e .")
        return
    for requirement in asked:
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding("environment", "wrong", f"{requirement.name} is missing", f"pip install '{requirement}'")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            said = f"{requirement.name} is {version}; it must be {requirement.specifier}"
            yield Finding("environment", "wrong", said, f"pip install '{requirement}'")
    torch = importlib.metadata.version("torch")
    if shutil.which("nvidia-smi") and "+cpu" in torch:
        said = f"there is an NVIDIA GPU, and torch {torch} is built without one"
        yield Finding("environment", "warning", said, "pip install torch from the index for CUDA")
    yield Finding("environment", "ok", f"Python {sys.version.split()[0]}, torch {torch}, {os.cpu_count()} cores")


def permissions(home: Home) -> Iterator[Finding]:
    """Whether the home can be written, all of it, and how much room there is."""
    top = next(folder for folder in (home.root, *home.root.parents) if folder.exists())
    if not os.access(top, os.W_OK | os.X_OK):
        mend = "change to a directory you own, or set CVAE_PIPE_HOME to one"
        yield Finding("permissions", "wrong", f"{top} cannot be written", mend)
        return
    mine = os.geteuid()
    foreign = 0
    for root in (home.store.root, home.mlruns, home.reports):
        for folder, _, files in os.walk(root):
            for name in ("", *files):
                path = os.path.join(folder, name) if name else folder
                writable = os.access(path, os.W_OK)
                foreign += not writable or (mine != 0 and os.stat(path).st_uid != mine)
    if foreign:
        said = f"{foreign} files of {home.root} belong to somebody else or cannot be written"
        yield Finding("permissions", "wrong", said, f"sudo chown -R $(id -u) {home.root}")
    free = shutil.disk_usage(top).free
    said = f"{free / 2**30:,.1f} GB are free below {home.root}"
    if free < LOW_SPACE:
        yield Finding("permissions", "warning", said, "cvae-pipe gc")
    else:
        yield Finding("permissions", "ok", said)


def work(home: Home) -> Iterator[Finding]:
    """Who is at work, and what a kill has left."""
    for user in users(home):
        yield Finding("work", "note", f"at work: {user}")
    if left := len(list(pending(home))):
        yield Finding("work", "warning", f"{left} removals were cut short; gc finishes them", "cvae-pipe gc")


# ---- what is stored ------------------------------------------------------------------------------------------------


def store(home: Home, *, thoroughly: bool) -> Iterator[Finding]:
    """Every result against its manifest, every run against its parts."""
    holdings = Holdings(home)
    broken: dict[tuple[str, str], list[str]] = {}
    count = 0
    for stage, key in holdings.entries():
        count += 1
        folder = home.store.root / stage / key
        if not (folder / MANIFEST).exists():
            broken[stage, key] = [f"no {MANIFEST}"]
        elif found := home.store.damaged(stage, key, thoroughly=thoroughly):
            broken[stage, key] = found
    for e, what in broken.items():
        said = f"{e[0]} {e[1]} is damaged ({', '.join(what)})"
        try:
            owners = holdings.owners([e])
        except CvaePipeError:  # a ledger that cannot be read has a finding of its own
            yield Finding("store", "wrong", f"{said}; who needs it cannot be told without the ledger of the studies")
            continue
        if owners:
            mend = next((owner.command for owner in owners if owner.command), "")
            yield Finding(
                "store", "wrong", f"{said}; {', '.join(map(str, owners[:3]))} needs it, and makes it anew", mend
            )
        else:
            mend = f"rm -r {home.store.root / e[0] / e[1]}"
            yield Finding("store", "warning", f"{said}; nothing that can be read needs it", mend)
    for run in holdings.runs.values():
        gone = [f"{stage} {key}" for stage, key in sorted(run.parts) if not (home.store.root / stage / key).is_dir()]
        if gone:
            mend = f"cvae-pipe run {flags(run.config)}"
            yield Finding("store", "wrong", f"run {run.name} has lost {', '.join(gone)}", mend)
    aside = len(list((home.store.root / "damaged").glob("*")))
    if aside:
        yield Finding("store", "note", f"{aside} damaged results were set aside and made anew", "cvae-pipe gc")
    how = "hash by hash" if thoroughly else "by size, small files by hash; --thorough reads all"
    yield Finding("store", "ok" if not broken else "note", f"{count} results, {how}")


def ledger(home: Home) -> Iterator[Finding]:
    """Optuna's database, and studies that stopped half-way."""
    path = home.mlruns / "optuna.db"
    if not path.exists():
        return
    yield from _sound(path, "studies", f"bring back a copy of {path}, or move it away and repeat the sweeps")
    found = stored_studies(home)
    for name, study in found.items():
        states = [STATES.get(trial.state, "unfinished") for trial in study.trials]
        if left := states.count("unfinished"):
            said = f"study {name}: {left} of {len(states)} trials are unfinished; its sweep goes on with them"
            yield Finding("studies", "note", said, f"cvae-pipe sweep --name {name} --trials {len(states)}")
        if failed := states.count("failed"):
            yield Finding(
                "studies", "note", f"study {name}: {failed} trials failed; status says why", "cvae-pipe status"
            )
    yield Finding("studies", "ok", f"{len(found)} {'study' if len(found) == 1 else 'studies'} can be read")


def data(home: Home) -> Iterator[Finding]:
    """Where downloads are, and whether prepared splits are whole (the store's check says that)."""
    named = os.environ.get("CVAE_PIPE_DATA_DIR")
    if named and not home.data_dir.is_dir():
        yield Finding("data", "wrong", f"CVAE_PIPE_DATA_DIR is {named}, which is not there", "unset CVAE_PIPE_DATA_DIR")
        return
    if home.data_dir.is_dir() and not os.access(home.data_dir, os.R_OK):
        yield Finding("data", "wrong", f"{home.data_dir} cannot be read", f"chmod u+rx {home.data_dir}")
    there = sorted(p.name for p in home.data_dir.glob("*") if p.is_dir())
    yield Finding("data", "ok", f"{home.data_dir}: {', '.join(there) or 'nothing yet'}, of {len(DATASETS)} data sets")


def reports(home: Home) -> Iterator[Finding]:
    """Pages that are not as they were written."""
    pages = sorted(home.reports.glob("*/report.html"))
    for page in pages:
        if not unbroken(page.read_text(encoding="utf-8", errors="replace")):
            said = f"{page} has been changed since it was written"
            yield Finding("reports", "wrong", said, f"cvae-pipe report {page.parent.name}")
    yield Finding("reports", "ok", f"{len(pages)} reports")


# ---- the tracker ---------------------------------------------------------------------------------------------------


def tracker(home: Home) -> Iterator[Finding]:
    """MLflow's store: its database and schema, or whether its server answers."""
    old = [p.parent.name for p in home.mlruns.glob("*/meta.yaml")]
    if old:
        said = f"{home.mlruns} holds MLflow's old file store ({', '.join(old[:3])}), beside which it does not start"
        yield Finding("tracker", "wrong", said, f"mv {home.mlruns / old[0]} {home.root / f'old-mlruns-{old[0]}'}")
    uri = checked_uri(home)
    if is_server(uri):
        yield _answer(uri)
        return
    path = sqlite_file(home)
    if path is None:
        yield Finding("tracker", "note", f"{shown(uri)}: nothing is recorded yet, or it is no SQLite file")
        return
    yield from _sound(path, "tracker", "bring back a copy of it; `cvae-pipe` records anew what the store knows")
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        revision = str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])
    known, head = _revisions()
    version = importlib.metadata.version("mlflow")
    if revision not in known:
        said = f"{path} is of a newer MLflow than the {version} here (schema {revision})"
        yield Finding("tracker", "wrong", said, "pip install --upgrade mlflow")
    elif revision != head:
        said = f"{path} is of an older MLflow than the {version} here"
        yield Finding("tracker", "wrong", said, f"{sys.executable} -m mlflow db upgrade {shown(uri)}")
    runs = recorded_runs(path)
    lost = [run for run in runs if not run.deleted and not any((home.mlruns / "artifacts").glob(f"*/{run.id}"))]
    if lost and not users(home):
        said = f"files of {len(lost)} of {len(runs)} runs are not below {home.mlruns}, e.g. of {lost[0].name}"
        yield Finding("tracker", "warning", said, "repeat the command of the run, or copy mlruns/artifacts here")
    open_ = [run for run in runs if run.status == "RUNNING"]
    if open_ and not users(home):
        said = f"{len(open_)} runs stand as RUNNING though nobody is at work, e.g. {open_[0].name}"
        yield Finding("tracker", "note", said, "repeat their command: it goes on, and closes them")
    yield Finding("tracker", "ok", f"{len(runs)} runs in {path}")


def _answer(uri: str) -> Finding:
    """Whether a server answers, without saying what its address may hold of a password."""
    address = urlsplit(uri)
    who, _, host = address.netloc.rpartition("@")
    request = urllib.request.Request(f"{address.scheme}://{host}{address.path.rstrip('/')}/health")
    if who:
        request.add_header("Authorization", f"Basic {base64.b64encode(unquote(who).encode()).decode()}")
    try:
        with _opener(uri).open(request, timeout=ANSWER_SECONDS) as answer:
            return Finding("tracker", "ok", f"{shown(uri)} answers ({answer.status})")
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            mend = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
            return Finding("tracker", "wrong", f"{shown(uri)} wants to know who asks ({error.code})", mend)
        return Finding("tracker", "warning", f"{shown(uri)} answers with {error.code}; it may be no MLflow server")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        mend = "start it, or unset MLFLOW_TRACKING_URI to use this home's own store"
        return Finding("tracker", "wrong", f"{shown(uri)} does not answer ({reason})", mend)


def _opener(uri: str) -> urllib.request.OpenerDirector:
    """This machine is asked itself: a proxy of the environment does not know it."""
    if (urlsplit(uri).hostname or "") in LOOPBACK:
        return urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener()


def proxy(home: Home) -> Iterator[Finding]:
    """A proxy that would be asked for addresses of this machine."""
    named = urllib.request.getproxies()
    if not named.keys() & {"http", "https", "all"}:
        yield Finding("proxy", "ok", "none is set")
        return
    hosts = ["127.0.0.1", "localhost"]
    uri = tracking_uri(home)
    if is_server(uri) and (host := urlsplit(uri).hostname) and host in LOOPBACK:
        hosts.append(host)
    passed = [host for host in dict.fromkeys(hosts) if not urllib.request.proxy_bypass(host)]
    if passed:
        said = f"a proxy is set that would be asked for {' and '.join(passed)} too"
        yield Finding("proxy", "warning", said, "export no_proxy=localhost,127.0.0.1,::1")
    else:
        yield Finding("proxy", "ok", "one is set; addresses of this machine do not go through it")


def _sound(path: Path, check: str, mend: str) -> Iterator[Finding]:
    """Whether SQLite finds its file in order."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            answer = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        answer = str(error)
    if answer != "ok":
        yield Finding(check, "wrong", f"{path} is damaged ({answer})", mend)


def _revisions() -> tuple[set[str], str]:
    """Schema revisions that the MLflow here knows, and the newest of them; read from its files, which is quick."""
    found = importlib.util.find_spec("mlflow")
    known: set[str] = set()
    before: set[str] = set()
    for path in (Path((found and found.origin) or "").parent / "store" / "db_migrations" / "versions").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        known |= set(re.findall(r'^revision(?:\s*:\s*\w+)?\s*=\s*["\'](\w+)["\']', text, re.MULTILINE))
        for line in re.findall(r"^down_revision.*=(.*)$", text, re.MULTILINE):
            before |= set(re.findall(r'["\'](\w+)["\']', line))
    newest = sorted(known - before)
    return known, newest[0] if newest else ""
