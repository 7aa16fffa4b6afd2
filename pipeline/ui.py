"""Starts MLflow's web interface and says where to look. Knows addresses and processes; nothing of what is recorded."""

import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import TrackingError
from pipeline.store import Home
from pipeline.tracking import ui_base, ui_command, ui_environment, ui_links

START_SECONDS = 60


def serve(
    home: Home, experiment: str, *, port: int = 5055, study: str | None = None, say: Callable[[str], None]
) -> int:
    """Serve until interrupted; the exit code. Where MLFLOW_TRACKING_URI is a server, only its addresses are printed."""
    command = ui_command(home, port=port)
    base = ui_base(home, port=port)
    links = ui_links(home, experiment, base, study=study)
    if not command:
        _print(say, base, links)
        return 0
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise TrackingError(f"port {port} is taken, perhaps by another `cvae-pipe ui`; use --port {port + 1}")
    say("starting MLflow's interface ...")
    log = home.mlruns / "ui.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(command, env=ui_environment(), stdout=output, stderr=output)
    try:
        _wait_until_ready(process, base, log)
        _print(say, base, links)
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
            with urllib.request.urlopen(f"{base}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise TrackingError(f"MLflow's interface did not answer at {base} within {START_SECONDS} s; its log is {log}")


def _print(say: Callable[[str], None], base: str, links: dict[str, str]) -> None:
    say(f"all runs:   {base}")
    for name, link in links.items():
        say(f"{name}: {link}")
