"""Addresses: what they may hold in confidence is never said, whatever their shape."""

import pytest

from pipeline.errors import TrackingError
from pipeline.tracking.addresses import checked_uri, scrubbed, shown, tracking_uri

SHAPES = [
    "http://me:s3cretpw@host:5000/mlflow",
    "https://s3cretpw@host",
    "http://me:s3cr%40etpw@host",
    "http://me:s3cr@etpw@host:5000",
    "http://me:s3cr/etpw@host:5000",
    "http://me:s3cr?etpw@host:5000",
    "http://me:s3cr#etpw@host:5000",
    "http://host:5000?token=s3cretpw",
    "postgresql://me:s3cretpw@host/db",
    "postgresql+psycopg://me:s3cr@etpw@host/db?sslmode=require",
    "postgresql://host/db?user=me&password=s3cretpw",
    "postgresql://host/db?user=me&password=s3cr@etpw",
    "postgresql://me:s3cr/etpw@host:5432/db",
    "mysql+pymysql://me:s3cretpw@host:3306/db",
    "mssql+pyodbc://me:s3cretpw@host/db?driver=ODBC",
    "me:s3cretpw@host:5000",
    "htp://me:s3cretpw@host:5000",
    "http:/me:s3cretpw@host:5000",
    "sqlite:////srv/mlflow.db?password=s3cretpw",
    "sqlite+pysqlcipher://:s3cretpw@/mlflow.db",
]
PIECES = ("s3cr", "etpw")


@pytest.mark.parametrize("uri", SHAPES)
def test_no_part_of_a_password_is_shown(uri, home, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    said = [shown(uri), shown(tracking_uri(home)), scrubbed(f"could not reach {uri}", uri)]
    said.append(scrubbed("password s3cretpw, s3cr@etpw, s3cr%40etpw or s3cr/etpw", uri))
    try:
        checked_uri(home)
    except TrackingError as error:
        said.append(str(error))
    rest = said.pop(3)
    for text in said:
        assert not [piece for piece in PIECES if piece in text], text
    own = next(p for p in ("s3cretpw", "s3cr@etpw", "s3cr%40etpw", "s3cr/etpw", "s3cr?etpw", "s3cr#etpw") if p in uri)
    assert own not in rest


def test_what_is_no_secret_is_shown():
    assert shown("http://me:pw@host:5000/mlflow") == "http://host:5000/mlflow"
    assert shown("postgresql+psycopg://me:pw@host/db?sslmode=require") == "postgresql+psycopg://host/db"
    assert shown("sqlite:////home/me@work/mlflow.db") == "sqlite:////home/me@work/mlflow.db"
    assert shown("mlruns") == "mlruns"
    assert scrubbed("sslmode require is not supported", "postgresql://h/db?sslmode=require").startswith(
        "sslmode require"
    )


@pytest.mark.parametrize("uri", ["http://me:s3cr/etpw@host", "postgresql://me:s3cr?etpw@host/db"])
def test_a_password_that_cuts_an_address_short_is_refused_with_how_it_is_written(uri, home, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(TrackingError, match="%2F, %3F and %23"):
        checked_uri(home)


def test_an_at_sign_in_a_password_is_quoted_for_the_libraries(home, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:a@b@host:5000/x@y")
    assert checked_uri(home) == "http://me:a%40b@host:5000/x@y"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://host/db?password=a@b")
    assert checked_uri(home) == "postgresql://host/db?password=a@b"
