"""A packed study taken into a home: looked at before a byte is written, put together aside, checked, then moved in.

Whoever made the file is not trusted to have meant well: nothing in it is run or unpickled, no path leads out, no file
is larger than it says, and only results that this study needs come in, never over one that is here. What its numbers
are worth is another matter: they are as good as the word of who packed them.
"""

import hashlib
import json
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from pipeline.errors import CvaePipeError, PackError
from pipeline.reporting.index import refresh_index
from pipeline.runs.needs import entry
from pipeline.store.files import read_json, sha256, write_json
from pipeline.store.home import Home
from pipeline.store.store import KEY_LENGTH, MANIFEST
from pipeline.tracking import MlflowTracker
from pipeline.tracking.exchange import UNPACKED, check_runs, import_runs, renamed
from pipeline.tracking.insertion import insert_runs, takes_rows
from pipeline.tracking.records import forget, records, study_records
from pipeline.tracking.registry import FOLDER
from sweeps.keeping.holdings import NOT_STAGES, RECORDS, Holdings
from sweeps.keeping.packing import CHUNK, FORMAT, PACK, RUNS, STUDY, opened_key
from sweeps.study.config import checked_name
from sweeps.study.exchange import restore_study, same_study, study_document, study_of
from sweeps.study.locking import study_lock
from sweeps.study.reading import every_study_name

MOST_FILES = 200_000
MOST_GB = 20.0
"""What a pack may take on disk unless somebody says otherwise: forty trials on MNIST take 0.2."""
MOST_TEXT = 256 * 2**20
"""Bytes of a JSON document of a pack."""
PLACE = re.compile(
    rf"(?:{re.escape(PACK)}|{re.escape(STUDY)}|{re.escape(RUNS)}"
    r"|store/[a-z_]{1,40}/[0-9a-f]{16}/.+|reports/[^/]+/.+|artifacts/[0-9a-f]{32}/.+)"
)
HOME = Path("home")
TORN = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError)
"""What reading a member of a zip file that is damaged, or made up, may end in."""


@dataclass(frozen=True)
class Unpacked:
    """What came of it."""

    study: str
    results: int
    """That were not here before."""
    runs: int
    """Recorded in MLflow."""
    report: str
    """"" for a study without one."""
    was_here: bool = False
    """The same study was here already: nothing was done."""

    def document(self) -> dict[str, Any]:
        return dict(vars(self))


def unpack(
    home: Home,
    path: Path,
    *,
    connect: Callable[[], MlflowTracker],
    experiment: str,
    most_gb: float = MOST_GB,
    say: Callable[[str], None] = lambda text: None,
) -> Unpacked:
    """Take a packed study in; PackError, with nothing changed, for a file that is none or does not keep to the rules.
    A kill leaves a home that is as it was, or that repeating the command completes.

    Its runs go into MLflow's `experiment`; where that takes MLflow, by `connect`. Its choice becomes a registered model
    with `sync`: packaging one loads torch and MLflow, for seconds.
    """
    with _opened(path) as archive:
        members = _checked(archive, path, most_gb, shutil.disk_usage(home.root).free)
        head = _head(archive, members, path)
        name = checked_name(head["study"])
        document = _json(archive, members[STUDY], path)
        if name in every_study_name(home):
            if same_study(study_document(home, name), document):
                return Unpacked(name, 0, 0, _report(home, name), was_here=True)
            raise PackError(
                f"there is another study {name} in this home; remove it with `cvae-pipe rm {name}`, or set "
                "CVAE_PIPE_HOME to a home of its own"
            )
        pack_key = sha256(path)[:KEY_LENGTH]
        aside = home.store.partial("unpack", pack_key)
        lock = study_lock(home, name)
        try:
            if aside.exists():  # of an unpacking that was killed
                shutil.rmtree(aside)
            aside.mkdir(parents=True)
            _extract(archive, members, head["files"], aside, path)
            _check_study(aside, name, document, path)
            say(f"unpacking study {name}: every file is what the pack says")
            # A server that is away is known before anything is taken in.
            tracker = None if takes_rows(home, experiment) else connect()
            made = _take_in(home, aside, name)
            ids = _record(home, experiment, tracker, aside, name, pack_key)
            restore_study(home, name, json.loads(renamed(json.dumps(document), ids)))
            refresh_index(home.reports)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
            lock.release()
    return Unpacked(name, made, len(ids), _report(home, name))


# ---- the file ------------------------------------------------------------------------------------------------------


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise PackError(
            f"{path} cannot be read as a pack ({error}); `cvae-pipe pack STUDY {path.name}` makes one"
        ) from None


def _checked(archive: zipfile.ZipFile, path: Path, most_gb: float, free: int) -> dict[str, zipfile.ZipInfo]:
    """The members by name, each of which may be unpacked as far as its name, kind and size go."""
    members: dict[str, zipfile.ZipInfo] = {}
    infos = archive.infolist()
    if len(infos) > MOST_FILES:
        raise PackError(f"{path} holds {len(infos):,} files; a pack has at most {MOST_FILES:,}")
    for info in infos:
        place, kind = info.orig_filename, stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise PackError(f"{path}: {place!r} is no file but a link or a device")
        if not _is_allowed(place):
            raise PackError(f"{path}: {place!r} is no place of a pack")
        if place in members:
            raise PackError(f"{path} holds {place!r} twice")
        if info.flag_bits & 0x1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise PackError(f"{path}: {place!r} is encrypted, or compressed in another way")
        members[place] = info
    folded = {place.casefold() for place in members}
    if len(folded) < len(members):
        raise PackError(f"{path} holds two files whose names differ in case alone")
    total = sum(info.file_size for info in members.values())
    if total > most_gb * 1e9:
        raise PackError(f"{path} would take {total / 1e9:,.1f} GB, more than --most-gb {most_gb:g}")
    if total > free:
        raise PackError(f"{path} would take {total / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free")
    for needed in (PACK, STUDY, RUNS):
        if needed not in members:
            raise PackError(f"{path} is no packed study ({needed} is missing); `cvae-pipe pack STUDY FILE` makes one")
    return members


def _is_allowed(place: str) -> bool:
    """A relative path of ours: no way up, no other separator, no control character, nothing hidden."""
    parts = PurePosixPath(place).parts
    return (
        bool(PLACE.fullmatch(place))
        and "/".join(parts) == place
        and not any(part.startswith(".") or len(part.encode()) > 255 for part in parts)
        and not any(c in '\\:*?"<>|' or ord(c) < 32 or ord(c) == 127 for c in place)
        and len(place) <= 1000
    )


def _head(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], path: Path) -> dict[str, Any]:
    head = _json(archive, members[PACK], path)
    try:
        if head["format"] != FORMAT:
            raise PackError(f"{path} is of format {head['format']}; this version of cvae-pipe reads {FORMAT}")
        files = {str(place): (int(size), str(digest)) for place, (size, digest) in head["files"].items()}
        head = {"study": str(head["study"]), "files": files}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PackError(f"{path}: {PACK} cannot be read ({type(error).__name__}: {error})") from None
    if files.keys() != members.keys() - {PACK}:
        odd = sorted(files.keys() ^ (members.keys() - {PACK}))[0]
        raise PackError(f"{path}: {odd!r} is in the file or in its list, but not in both")
    for place, (size, _) in files.items():
        if members[place].file_size != size:
            raise PackError(f"{path}: {place!r} is not of the size that is written down")
        parts = place.split("/")
        if (
            (parts[0] == "store" and parts[1] in NOT_STAGES)
            or (parts[0] == "reports" and parts[1] != head["study"])
            or (parts[0] == "artifacts" and parts[2] == FOLDER)  # a packaged model is code
        ):
            raise PackError(f"{path}: {place!r} is no place of a pack of study {head['study']}")
    return head


def _json(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Any:
    if info.file_size > MOST_TEXT:
        raise PackError(f"{path}: {info.filename} is of {info.file_size:,} bytes; at most {MOST_TEXT:,} are read")
    try:
        with archive.open(info) as member:
            return json.loads(member.read(MOST_TEXT))
    except (*TORN, OSError, RecursionError) as error:
        raise PackError(f"{path}: {info.filename} cannot be read ({type(error).__name__})") from None


def _extract(
    archive: zipfile.ZipFile,
    members: dict[str, zipfile.ZipInfo],
    facts: dict[str, tuple[int, str]],
    aside: Path,
    path: Path,
) -> None:
    """Write every file aside, in the layout of a home, and hold each against its size and hash."""
    for place, (size, digest) in facts.items():
        to = aside / _place_in_home(place)
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            with archive.open(members[place]) as source, open(to, "xb") as target:
                found = _copied(source, target, size)
        except (*TORN, FileExistsError, NotADirectoryError) as error:
            raise PackError(f"{path}: {place!r} is damaged ({type(error).__name__}); ask for the pack again") from None
        if found != digest:
            raise PackError(f"{path}: {place!r} is not what was packed; ask for the pack again")


def _copied(source: IO[bytes], target: IO[bytes], size: int) -> str:
    """Copy at most `size` bytes and one; the hash of what was copied."""
    hashed, left = hashlib.sha256(), size + 1
    while left and (chunk := source.read(min(CHUNK, left))):
        hashed.update(chunk)
        target.write(chunk)
        left -= len(chunk)
    return hashed.hexdigest() if left == 1 else ""


def _place_in_home(place: str) -> Path:
    parts = place.split("/")
    return HOME / ".cache" / place if parts[0] == "store" else HOME / place


# ---- the study -----------------------------------------------------------------------------------------------------


def _check_study(aside: Path, name: str, document: dict[str, Any], path: Path) -> None:
    """Whether what is there is this study and nothing else, and every result what its manifest says."""
    try:
        _look_over(Home(aside / HOME, aside / HOME / "data"), name, document, path)
    except PackError:
        raise
    except CvaePipeError as error:
        raise PackError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise PackError(f"{path}: study {name} in it makes no sense ({error!r})") from None


def _look_over(packed: Home, name: str, document: dict[str, Any], path: Path) -> None:
    check_runs(read_json(packed.root / RUNS))
    holdings = Holdings(packed, {name: study_of(name, document)})
    needed = set(holdings.studies[name].needs)
    for run in holdings.runs.values():
        if run.split == "test" and entry("run", run.key) in needed:
            needed.add(entry("opened", opened_key(run.config)))
    for stage, key in holdings.entries():
        if (stage, key) not in needed:
            raise PackError(f"{path}: {stage} {key} is no result that study {name} needs")
        if broken := packed.store.damaged(stage, key, thoroughly=True):
            raise PackError(f"{path}: {stage} {key} is damaged ({', '.join(broken)}); ask for the pack again")
        manifest = read_json(packed.store.path(stage, key) / MANIFEST)
        if (manifest.get("stage"), str(manifest.get("key"))[:KEY_LENGTH]) != (stage, key):
            raise PackError(f"{path}: {stage} {key} says that it is another result")


def _take_in(home: Home, aside: Path, name: str) -> int:
    """Move the results and the report in; how many results were not here before."""
    packed = Home(aside / HOME, aside / HOME / "data")
    report = packed.reports / name
    if report.exists() and (there := home.reports / name).exists() and not _same_files(report, there):
        raise PackError(f"{there} is here already, of another study; move it away first")
    made = 0
    for stage, key in list(Holdings(packed).entries()):
        folder = packed.store.path(stage, key)
        if stage in RECORDS:
            _keep_record(home, stage, folder)
        else:
            made += home.store.adopt(stage, key, folder)
    if report.exists() and not (home.reports / name).exists():
        home.reports.mkdir(parents=True, exist_ok=True)
        report.rename(home.reports / name)
    return made


def _keep_record(home: Home, stage: str, folder: Path) -> None:
    """That a model was opened on test, which holds here now, too: under the next number of this home."""
    record, key = read_json(folder / "opened.json"), read_json(folder / MANIFEST)["key"]
    store = home.store

    def make(work: Path) -> None:
        others = [read_json(store.path(stage, other) / "opened.json") for other in store.keys(stage)]
        number = 1 + sum(other["data"] == record["data"] for other in others)
        write_json(work / "opened.json", {**record, "number": number})

    with store.lock(stage):
        store.build(stage, key, make)


def _same_files(one: Path, other: Path) -> bool:
    return {*_hashed(one)} == {*_hashed(other)}


def _hashed(folder: Path) -> Iterator[tuple[str, str]]:
    return ((str(p.relative_to(folder)), sha256(p)) for p in folder.rglob("*") if p.is_file())


def _report(home: Home, name: str) -> str:
    path = home.reports / name / "report.html"
    return str(path) if path.exists() else ""


# ---- MLflow --------------------------------------------------------------------------------------------------------


def _record(
    home: Home, experiment: str, tracker: MlflowTracker | None, aside: Path, name: str, pack_key: str
) -> dict[str, str]:
    """Its runs in MLflow, in place of those that an unpacking which was killed has left; old id -> new id."""
    runs = read_json(aside / HOME / RUNS)
    found = study_records(records(home), name)
    left = [run.id for run in found if run.tags.get(UNPACKED) == pack_key]
    if not runs or len(left) < len(found):  # the study was recorded here before its ledger was lost: let it stand
        return {}
    forget(home, left, ())
    files = {folder.name: folder for folder in (aside / HOME / "artifacts").glob("*")}
    if tracker is None:
        return insert_runs(home, experiment, runs, files, pack_key)
    return import_runs(tracker.client, tracker.experiment_id, runs, files, pack_key)
