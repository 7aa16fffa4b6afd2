"""MLflow's web interface: the command that serves it, and serving until interrupted. Knows addresses and processes."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import TrackingError
from pipeline.store.home import Home
from pipeline.tracking.database import is_server, tracking_uri

START_SECONDS = 60
DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""This machine is asked itself: a proxy of the environment does not know it."""


def ui_command(home: Home, host: str = "127.0.0.1", port: int = 5055) -> list[str]:
    """The command that serves the UI on the home's store; run it with `ui_environment()`, after `prepare_store`.

    Empty if MLFLOW_TRACKING_URI is a server: that is the UI.
    """
    uri = tracking_uri(home)
    if is_server(uri):
        return []
    artifacts = (home.mlruns / "artifacts").as_uri()
    return [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--backend-store-uri", uri, "--artifacts-destination", artifacts),
        *("--host", host, "--port", str(port), "--workers", "1"),
    ]


def ui_environment() -> dict[str, str]:
    """The environment for `ui_command`: no usage reports, and none of the job runners (8 processes, 1.3 GB)."""
    return {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def serve(home: Home, found: dict[str, str], *, port: int = 5055, open_: str = "", say: Callable[[str], None]) -> int:
    """Serve until interrupted and say where to look; the exit code. `open_` names the link to open in a browser.

    Where MLFLOW_TRACKING_URI is a server, there is nothing to start.
    """
    command = ui_command(home, port=port)
    if not command:
        _show(found, open_, say)
        return 0
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise TrackingError(f"port {port} is taken, perhaps by another `cvae-pipe ui`; use --port {port + 1}")
    say("starting MLflow's interface ...")
    log = home.mlruns / "ui.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(command, env=ui_environment(), stdout=output, stderr=output)
    try:
        _wait_until_ready(process, found["all"], log)
        _show(found, open_, say)
        say("Ctrl-C stops it")
        return process.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_until_ready(process: "subprocess.Popen[bytes]", base: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise TrackingError(f"MLflow's interface stopped with code {process.returncode}; its log is {log}")
        try:
            with DIRECTLY.open(f"{base}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise TrackingError(f"MLflow's interface did not answer at {base} within {START_SECONDS} s; its log is {log}")


def _show(found: dict[str, str], open_: str, say: Callable[[str], None]) -> None:
    for name, link in found.items():
        say(f"{name + ':':<8}{link}")
    if open_ and not webbrowser.open(found.get(open_, found["all"])):
        say("no web browser could be started; open one of the addresses above")
