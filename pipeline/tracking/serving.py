"""MLflow's web interface, and its scoring server: started on this machine, until interrupted. Knows processes."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Callable
from contextlib import suppress
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
    check_port(port, "ui")
    say("starting MLflow's interface ...")
    log = home.mlruns / "ui.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(command, env=ui_environment(), stdout=output, stderr=output)
    try:
        _wait_until_ready(process, found["all"], log, "MLflow's interface")
        _show(found, open_, say)
        say("Ctrl-C stops it")
        return process.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        process.terminate()
        process.wait(timeout=20)


EXAMPLE = '{"dataframe_records": [{"label": %s, "n": 4, "seed": 0, "temperature": 0.8}]}'
"""A request, less the label."""


def serve_model(home: Home, model: str, *, port: int, label: str = "0", say: Callable[[str], None]) -> int:
    """MLflow's own scoring server on a model's folder or models:/ address, on loopback, until interrupted; the exit
    code. `label`, as JSON, is for the example of a request that is said."""
    check_port(port, "serve")
    say("starting MLflow's scoring server ...")
    base, log = f"http://127.0.0.1:{port}", home.mlruns / "serve.log"
    beside = str(Path(sys.executable).parent)  # uvicorn, which MLflow calls by its name
    environment = {
        **ui_environment(),
        "PATH": os.pathsep.join([beside, os.environ.get("PATH", os.defpath)]),
        "MLFLOW_TRACKING_URI": tracking_uri(home),
    }
    command = [
        *(sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", model, "--env-manager", "local"),
        *("--host", "127.0.0.1", "--port", str(port)),
    ]
    with open(log, "wb") as output:  # its own group: what it starts is stopped with it
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        _wait_until_ready(process, base, log, "MLflow's scoring server")
        request = EXAMPLE % label
        say(f"serving at {base}/invocations; Ctrl-C stops it")
        say(f"curl -s {base}/invocations -H 'Content-Type: application/json' -d '{request}'")
        return process.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=20)


def check_port(port: int, command: str) -> None:
    """TrackingError if somebody listens there."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise TrackingError(
                f"port {port} is taken, perhaps by another `cvae-pipe {command}`; use --port {port + 1}"
            )


def _wait_until_ready(process: "subprocess.Popen[bytes]", base: str, log: Path, what: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise TrackingError(f"{what} stopped with code {process.returncode}; its log is {log}")
        try:
            with DIRECTLY.open(f"{base}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise TrackingError(f"{what} did not answer at {base} within {START_SECONDS} s; its log is {log}")


def _show(found: dict[str, str], open_: str, say: Callable[[str], None]) -> None:
    for name, link in found.items():
        say(f"{name + ':':<8}{link}")
    if open_ and not webbrowser.open(found.get(open_, found["all"])):
        say("no web browser could be started; open one of the addresses above")
