"""Rows of a SQLite file, deleted with whatever refers to them, as its schema says. Knows no table by name."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class _Reference:
    """A foreign key: columns of `child` that name columns of a parent."""

    child: str
    columns: tuple[str, ...]
    parent_columns: tuple[str, ...]
    lets_go: bool
    """ON DELETE SET NULL: the child stays."""


Tables = dict[str, list[str]]


def tables_of(connection: sqlite3.Connection) -> Tables:
    """Every table's columns."""
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: [row[1] for row in connection.execute(f'PRAGMA table_info("{name}")')] for name in names}


def _references(connection: sqlite3.Connection, tables: Tables, parent: str) -> Iterator[_Reference]:
    for child in tables:
        keys: dict[int, list[tuple[str, str, str]]] = {}
        for number, _, table, column, parent_column, _, on_delete, _ in connection.execute(
            f'PRAGMA foreign_key_list("{child}")'
        ):
            if table == parent:
                keys.setdefault(number, []).append((column, parent_column or column, on_delete))
        for pairs in keys.values():
            columns, parents, actions = zip(*pairs, strict=True)
            yield _Reference(child, columns, parents, actions[0] == "SET NULL")


def delete_rows(connection: sqlite3.Connection, tables: Tables, table: str, where: str) -> None:
    """Delete the rows of a table for which this holds, and first whatever refers to them by a foreign key."""
    for reference in _references(connection, tables, table):
        columns, parents = ", ".join(reference.columns), ", ".join(reference.parent_columns)
        refers = f"({columns}) IN (SELECT {parents} FROM {table} WHERE {where})"
        if reference.lets_go:
            nothing = ", ".join(f"{column} = NULL" for column in reference.columns)
            connection.execute(f"UPDATE {reference.child} SET {nothing} WHERE {refers}")
        elif reference.child != table:
            delete_rows(connection, tables, reference.child, refers)
    connection.execute(f"DELETE FROM {table} WHERE {where}")
