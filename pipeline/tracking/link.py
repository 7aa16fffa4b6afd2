"""The way to the store: an outage is one warning and no exception, an interruption cuts no call in two."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from pipeline.errors import cause
from pipeline.tracking.addresses import CREDENTIALS, is_server, scrubbed, shown
from pipeline.tracking.database import mlflow_module
from pipeline.tracking.limits import Limits

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")

RETRY_SECONDS = 30.0
"""After a store did not answer, leave it alone this long: an outage costs a sweep one timeout in half a minute."""


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Holds Ctrl-C, SIGTERM and SIGHUP back to the end of the block; a second one passes at once.

    An MLflow call cut in mid-transaction keeps its lock on the database, and then the run cannot be closed either.
    """
    if threading.current_thread() is not threading.main_thread():  # signals go to the main thread alone
        yield
        return
    held: list[int] = []
    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def hold(number: int, frame: object) -> None:
        if held:
            signal.signal(number, before[number])
            signal.raise_signal(number)
        held.append(number)

    for number in before:
        signal.signal(number, hold)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in held[:1]:
            signal.raise_signal(number)


class AwayError(Exception):
    """The store does not answer, or did not a moment ago; or it refuses who asks."""

    refusal = ""
    """What it said where it refused."""


class Link:
    """The way to the store: passes calls on, warns once when it is cut, and then leaves it alone for a while."""

    def __init__(self, client: "MlflowClient", uri: str, on_warning: Callable[[str], None]) -> None:
        self.client = client
        self.uri = uri
        self.on_warning = on_warning
        self.limits = Limits(on_warning)
        self._retry_at = -math.inf
        self._warned = False

    def call(self, operation: Callable[[], T]) -> T:
        """The operation's result; AwayError if the store is away, or was less than RETRY_SECONDS ago."""
        if time.monotonic() < self._retry_at:
            raise AwayError
        try:
            with uninterrupted():
                return operation()
        except Exception as error:
            if not is_outage(error):
                raise
            self._retry_at = time.monotonic() + RETRY_SECONDS
            away = AwayError()
            away.refusal = f"{refused(error)}: {self.said(error)}" if refused(error) else ""
            self._warn(error)
            raise away from error

    def said(self, error: BaseException) -> str:
        """The reason of an error, without a password that the address may hold."""
        return scrubbed(cause(error), self.uri)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            code = refused(error)
            what = f"refuses with {code}" if code else "stopped answering"
            self.on_warning(
                f"tracking {'server' if is_server(self.uri) else 'database'} {shown(self.uri)} {what} "
                f"({self.said(error)}); the run goes on, repeat the command later to replay what it missed"
                f"{f', with a user that may: {CREDENTIALS}' if code else ''}"
            )


def is_outage(error: Exception) -> bool:
    """Whether the outside world is to blame, rather than what was asked or a run that somebody deleted.

    Requests' exceptions and full disks are OSErrors.
    """
    if isinstance(error, mlflow_module().exceptions.MlflowException):
        return error.error_code not in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")
    return isinstance(error, OSError)


def refused(error: BaseException) -> int | None:
    """401 or 403 where a server does not let in who asks; None for every other error."""
    if isinstance(error, mlflow_module().exceptions.MlflowException):
        return {"UNAUTHENTICATED": 401, "CUSTOMER_UNAUTHORIZED": 401, "PERMISSION_DENIED": 403}.get(error.error_code)
    status = getattr(getattr(error, "response", None), "status_code", None)  # of an artifact
    return status if status in (401, 403) else None
