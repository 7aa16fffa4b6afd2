"""A study in one zip file: its results, its ledger, its report, what MLflow has of it, and a hash of every file.

pack.json                  what it is, and size and SHA-256 of every other file
study.json                 the ledger's study (sweeps.study.exchange)
mlflow.json                its runs (pipeline.tracking.exchange), their files under artifacts/<old run id>/
store/<stage>/<key>/..     results as the store has them
reports/<name>/..          the report
"""

import hashlib
import json
import os
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.digests import digest
from pipeline.environment import environment_text
from pipeline.errors import DamageError, PackError, StudyError
from pipeline.runs.needs import Entry, entry
from pipeline.stages.graph import PREPARE, TRAIN
from pipeline.store.home import Home
from pipeline.tracking.addresses import sqlite_file
from pipeline.tracking.exchange import exported_files, exported_runs
from pipeline.tracking.records import study_records
from pipeline.tracking.rows import recorded_runs
from sweeps.finding import find
from sweeps.keeping.holdings import Holdings
from sweeps.study.exchange import study_document
from sweeps.study.locking import study_lock

FORMAT = 1
PACK, STUDY, RUNS = "pack.json", "study.json", "mlflow.json"
ALREADY_SMALL = (".png", ".webp", ".safetensors", ".zip")
"""What compressing is a waste of time on: weights and pictures."""
CHUNK = 2**20


@dataclass(frozen=True)
class Packed:
    """What went into a pack."""

    path: Path
    study: str
    results: int
    files: int
    bytes: int
    """Of the zip file."""
    runs: int
    """Of MLflow's."""

    def document(self) -> dict[str, Any]:
        return {**vars(self), "path": str(self.path)}


def pack(home: Home, name: str, out: Path, *, data: bool = True) -> Packed:
    """Write the pack of a study, replaced atomically; without `data` the prepared images stay here, and who unpacks it
    has them prepared anew. DamageError if a result is not what was written; nothing is written then."""
    holdings = Holdings(home)
    if name not in holdings.studies:
        name = find(home, name, ("study",)).name
    if name not in holdings.studies:
        raise StudyError(f"there is no study {name!r}; studies are {', '.join(holdings.studies) or 'none yet'}")
    lock = study_lock(home, name)  # it does not move while it is packed
    try:
        entries = sorted(_entries(holdings, name, data=data))
        damaged = [f"{stage} {key}" for stage, key in entries if home.store.damaged(stage, key, thoroughly=True)]
        if damaged:
            raise DamageError(
                f"study {name} rests on results that are damaged ({', '.join(damaged[:3])}); repeat its sweep, which "
                "makes them anew, and pack it then"
            )
        runs, files = _recorded(home, name)
        for stage, key in entries:
            folder = home.store.path(stage, key)
            files |= {f"store/{stage}/{key}/{p.relative_to(folder).as_posix()}": p for p in _files(folder)}
        for folder in holdings.studies[name].reports:
            files |= {f"reports/{name}/{p.relative_to(folder).as_posix()}": p for p in _files(folder)}
        texts = {STUDY: json.dumps(study_document(home, name)), RUNS: json.dumps(runs)}
        _write(out, name, files, texts)
    finally:
        lock.release()
    return Packed(out, name, len(entries), len(files) + len(texts), out.stat().st_size, len(runs))


def _entries(holdings: Holdings, name: str, *, data: bool) -> Iterator[Entry]:
    """The results of a study that are there, with the record that its finals were opened on test."""
    home, needed = holdings.home, holdings.studies[name].needs
    for stage, key in needed:
        if (home.store.root / stage / key).is_dir() and (data or stage != PREPARE.name):
            yield stage, key
    for run in holdings.runs.values():
        if run.split == "test" and entry("run", run.key) in needed:
            record = entry("opened", opened_key(run.config))
            if (home.store.root / record[0] / record[1]).is_dir():
                yield record


def opened_key(config: Any) -> str:
    """The key of the record that a configuration's model was opened on test."""
    return digest("opened", PREPARE.key(config), TRAIN.key(config))


def _recorded(home: Home, name: str) -> tuple[list[dict[str, Any]], dict[str, Path]]:
    database = sqlite_file(home)
    if database is None:  # a server's runs stay on the server
        return [], {}
    found = study_records([run for run in recorded_runs(database) if not run.deleted], name)
    files = {
        f"artifacts/{run.id}/{place}": path for run in found for place, path in exported_files(home, run.id).items()
    }
    return exported_runs(database, found), files


def _files(folder: Path) -> Iterator[Path]:
    found = (p for p in sorted(folder.rglob("*")) if p.is_file() and not p.is_symlink())
    return (p for p in found if not p.name.startswith("."))


def _write(out: Path, name: str, files: dict[str, Path], texts: dict[str, str]) -> None:
    if out.is_dir():
        raise PackError(f"{out} is a folder; name a file, e.g. {out / f'{name}.zip'}")
    if not out.parent.is_dir():
        raise PackError(f"{out.parent} is not there; make it first")
    part = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    facts: dict[str, tuple[int, str]] = {}
    try:
        with zipfile.ZipFile(part, "w", allowZip64=True) as archive:
            for place, path in files.items():
                facts[place] = _add(archive, place, path)
            for place, text in texts.items():
                archive.writestr(_info(place), text)
                facts[place] = len(text.encode()), hashlib.sha256(text.encode()).hexdigest()
            head = {
                "format": FORMAT,
                "study": name,
                "packed_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "environment": environment_text(),
                "files": facts,
            }
            archive.writestr(_info(PACK), json.dumps(head))
        with open(part, "rb") as written:
            os.fsync(written.fileno())
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)


def _add(archive: zipfile.ZipFile, place: str, path: Path) -> tuple[int, str]:
    """A file, read once; its size and hash."""
    hashed, size = hashlib.sha256(), 0
    with open(path, "rb") as source, archive.open(_info(place), "w", force_zip64=True) as target:
        while chunk := source.read(CHUNK):
            hashed.update(chunk)
            size += len(chunk)
            target.write(chunk)
    return size, hashed.hexdigest()


def _info(place: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(place)  # its date is 1980: a pack says when it was made itself
    info.compress_type = zipfile.ZIP_STORED if place.endswith(ALREADY_SMALL) else zipfile.ZIP_DEFLATED
    info.external_attr = 0o100644 << 16
    return info
