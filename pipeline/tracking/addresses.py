"""Addresses of MLflow's stores: which one is meant, whether it makes sense, how it is said. Opens nothing.

An address may hold a password. What leaves this file for people to read is `shown(uri)` and `scrubbed(text, uri)`.
"""

import os
import re
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote

from pipeline.errors import TrackingError
from pipeline.store.home import Home

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
SERVERS = ("http", "https")
CREDENTIALS = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
"""How a user name and a password are given to a tracking server."""
HARMLESS = ("host", "port", "user", "dbname", "driver", "charset", "sslmode")
"""Options of a database's address that are no secret, and that an error may quote."""
HIDDEN = "***"


def embedded(home: Home) -> Path:
    """The SQLite file of the home."""
    return home.mlruns / "mlflow.db"


def tracking_uri(home: Home) -> str:
    """MLFLOW_TRACKING_URI, or the SQLite file of the home.

    A relative SQLite path becomes absolute; an @ within a password is quoted, as libraries want it.
    """
    uri = (os.environ.get("MLFLOW_TRACKING_URI") or "").strip() or f"sqlite:///{embedded(home)}"
    path = uri.removeprefix("sqlite:///")
    if path != uri:
        return f"sqlite:///{Path(path).absolute()}" if path and not path.startswith("/") else uri
    scheme, separator, rest = uri.partition("://")
    end = _end_of_authority(rest)
    login, at, place = rest[:end].rpartition("@")
    return f"{scheme}{separator}{login.replace('@', quote('@'))}{at}{place}{rest[end:]}"


def sqlite_path(uri: str) -> Path:
    """The file of a sqlite:/// address."""
    return Path(uri.removeprefix("sqlite:///").partition("?")[0])


def sqlite_file(home: Home) -> Path | None:
    """MLflow's database where it is a SQLite file that is there; None for a server, another database, or none yet."""
    uri = tracking_uri(home)
    path = sqlite_path(uri)
    return path if uri.startswith("sqlite:///") and path.is_file() else None


def checked_uri(home: Home) -> str:
    """`tracking_uri`; TrackingError if it is none that can be used."""
    uri = tracking_uri(home)
    scheme = uri.partition(":")[0].partition("+")[0] if ":" in uri else ""
    instead = f"unset it to use {embedded(home)}"
    if scheme in ("", "file"):
        raise TrackingError(
            f"MLFLOW_TRACKING_URI is {shown(uri)}, a directory, and MLflow no longer writes those; "
            f"use sqlite:///{embedded(home)}, a server's http address, or unset it"
        )
    if scheme not in (*DATABASES, *SERVERS) or not uri.partition("://")[2].strip("/"):
        raise TrackingError(
            f"MLFLOW_TRACKING_URI is {shown(uri)}; it must begin with one of "
            f"{', '.join(f'{s}://' for s in (*SERVERS, *DATABASES))}; {instead}"
        )
    if scheme != "sqlite" and _cut_short(uri.partition("://")[2]):
        raise TrackingError(
            f"MLFLOW_TRACKING_URI is {shown(uri)} with a /, ? or # in its user name or password; there these are "
            f"written %2F, %3F and %23; or {instead}"
        )
    return uri


def is_server(uri: str) -> bool:
    return uri.partition(":")[0] in SERVERS


def shown(uri: str) -> str:
    """The address without what it may hold in confidence: user name, password, token, options."""
    if re.match(r"sqlite:///|file:///|[./]", uri):  # a path: an @ is a part of it
        return uri.partition("?")[0]
    scheme, separator, rest = uri.partition("://")
    if not separator:
        scheme, rest = "", uri
    login, at, place = rest.rpartition("@")
    if at and "?" in login:  # a password with ? in it, or one among the options with @ in it
        return f"{scheme}{separator}{HIDDEN}"
    return f"{scheme}{separator}{re.split('[?#]', place)[0]}"


def scrubbed(text: str, uri: str) -> str:
    """A text of somebody else's, e.g. an error, without what `shown(uri)` leaves out of the address."""
    for secret in _secrets(uri):
        text = text.replace(secret, HIDDEN)
    return text


def _secrets(uri: str) -> list[str]:
    """What may not be shown of an address, as it is written and as it is meant, the longest first."""
    if re.match(r"sqlite:///|file:///|[./]", uri):
        rest, login = uri, ""
    else:
        rest = uri.partition("://")[2] or uri
        login = rest.rpartition("@")[0]
    password = login.partition(":")[2] or login  # a token stands alone
    found = {rest if "?" in login else login, password}  # of an ambiguous one all, lest a tail of it is left
    found |= {piece for piece in re.split(r"[/?#@:]", password) if len(piece) > 2}
    found |= {value for key, value in parse_qsl(rest.partition("?")[2]) if key.lower() not in HARMLESS}
    found |= {form for secret in found for form in (unquote(secret), quote(secret, safe=""))}
    return sorted((secret for secret in found if len(secret) > 1), key=len, reverse=True)


def _end_of_authority(rest: str) -> int:
    """Where user, password, host and port of an address (less its scheme) end."""
    found = re.search("[/?#]", rest)
    return found.start() if found else len(rest)


def _cut_short(rest: str) -> bool:
    """Whether the host of an address would be read out of the middle of its password."""
    end = _end_of_authority(rest)
    authority, behind = rest[:end], rest[end:]
    if "@" in authority or "@" not in behind:
        return False
    port = re.sub(r"^(\[.*\]|[^:]*):?", "", authority)
    return "@" in behind.partition("?")[0] or not (port == "" or port.isdigit())
