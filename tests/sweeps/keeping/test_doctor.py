"""`doctor`: each kind of trouble is found, named, and has a command that mends it; what is well is said to be."""

import json
import os
import sqlite3

import pytest
from helpers import free_port

from sweeps.keeping.doctor import _revisions, diagnose


def wrong(home, check, **named):
    """What is said to be wrong, or to beware of, in one check, with what mends it."""
    found = diagnose(home, **named).findings
    return [(f.said, f.mend) for f in found if f.check == check and f.state in ("wrong", "warning")]


def test_a_home_that_is_well_is_said_to_be(kept, command):
    code, out, _ = command("doctor")
    assert code == 0, out
    assert "WRONG" not in out
    document = json.loads(command("doctor", "--json")[1])
    assert document["well"]
    checks = {finding["check"] for finding in document["findings"]}
    assert checks == {
        *("environment", "permissions", "work", "store", "studies", "data", "reports", "tracker", "proxy"),
    }


def test_looking_at_an_empty_home_makes_nothing(home, command):
    home.root.mkdir()
    for look in (("doctor",), ("status",), ("gc",)):
        assert command(*look)[0] == 0
    assert list(home.root.iterdir()) == []


def test_damage_is_named_with_whom_it_hurts(kept, command):
    model = next((kept.store.root / "train").glob("*/model.safetensors"))
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(data)
    [(said, mend)] = wrong(kept, "store", thoroughly=True)
    assert model.parent.name in said
    assert any(owner in said for owner in ("study first", "study second", "run digits"))
    assert mend.startswith(("cvae-pipe sweep --name ", "cvae-pipe run --dataset digits"))
    model.write_bytes(data[:-5])
    assert wrong(kept, "store"), "a size is always looked at"
    assert command("doctor")[0] == 1


def test_a_changed_report_and_a_broken_ledger_are_found_side_by_side(kept):
    page = kept.reports / "first" / "report.html"
    page.write_text(page.read_text().replace("choice", "chioce", 1))
    (kept.mlruns / "optuna.db").write_text("nothing of the kind" * 1000)
    [(_, mend)] = wrong(kept, "reports")
    assert mend == "cvae-pipe report first"
    assert any("optuna.db" in said for said, _ in wrong(kept, "studies"))


def test_schemas_of_other_versions(kept):
    known, head = _revisions()
    assert head in known
    with sqlite3.connect(kept.mlruns / "mlflow.db") as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (head,)
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    [(said, mend)] = wrong(kept, "tracker")
    assert ("newer" in said, mend) == (True, "pip install --upgrade mlflow")
    with sqlite3.connect(kept.mlruns / "mlflow.db") as connection:
        older = next(r for r in sorted(known) if r != head)
        connection.execute("UPDATE alembic_version SET version_num = ?", [older])
    [(said, mend)] = wrong(kept, "tracker")
    assert ("older" in said, "db upgrade" in mend) == (True, True)


def test_servers_proxies_and_passwords(home, monkeypatch):
    home.check_writable()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{free_port()}")
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    [(said, _)] = wrong(home, "tracker")
    assert "does not answer" in said
    [(_, proxy_mend)] = wrong(home, "proxy")
    assert proxy_mend.startswith("export no_proxy=")
    assert "secret" not in json.dumps(diagnose(home).document())
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")
    assert wrong(home, "proxy") == []


def test_folders_of_the_old_file_store_and_a_data_directory_that_is_not_there(home, monkeypatch, tmp_path):
    home.check_writable()
    (home.mlruns / "0").mkdir()
    (home.mlruns / "0" / "meta.yaml").touch()
    assert any("old file store" in said for said, _ in wrong(home, "tracker"))
    monkeypatch.setenv("CVAE_PIPE_DATA_DIR", str(tmp_path / "gone"))
    [(_, mend)] = wrong(type(home).from_environment(), "data")
    assert mend == "unset CVAE_PIPE_DATA_DIR"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_files_that_cannot_be_written(kept):
    page = kept.reports / "first" / "report.html"
    page.chmod(0o400)
    [(_, mend)] = wrong(kept, "permissions")
    assert mend.startswith("sudo chown")
