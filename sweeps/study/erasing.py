"""Studies taken out of the ledger, all their rows in one transaction; by Optuna itself where its tables are others."""

import sqlite3
from collections.abc import Collection
from contextlib import closing

from pipeline.errors import StudyError
from pipeline.store.home import Home
from pipeline.store.sqlite import delete_rows, tables_of
from sweeps.study.reading import SCHEMA, WAIT_SECONDS


def erase_studies(home: Home, names: Collection[str]) -> None:
    """What is not there any more is nothing to take out; StudyError where the database cannot be written."""
    path = home.mlruns / "optuna.db"
    if not names or not path.exists():
        return
    try:
        with home.store.lock("optuna-db"), closing(sqlite3.connect(path, timeout=WAIT_SECONDS)) as opened:
            known = opened.execute("SELECT version_num FROM alembic_version").fetchall() == [(SCHEMA,)]
            if known:
                opened.execute("CREATE TEMP TABLE doomed (name TEXT)")
                opened.executemany("INSERT INTO doomed VALUES (?)", [(name,) for name in names])
                delete_rows(opened, tables_of(opened), "studies", "study_name IN (SELECT name FROM doomed)")
                opened.commit()
    except sqlite3.Error as error:
        raise StudyError(f"{path} cannot be written ({error}); `cvae-pipe doctor` says what is wrong with it") from None
    if not known:
        _asked(home, names)


def _asked(home: Home, names: Collection[str]) -> None:
    import optuna

    from sweeps.study.ledger import recorded_studies
    from sweeps.study.storage import quiet_optuna, readable, storage

    with quiet_optuna(), readable(home):
        for name in set(names) & set(recorded_studies(home, all_=True)):
            optuna.delete_study(study_name=name, storage=storage(home))
