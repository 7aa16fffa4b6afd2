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
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pipeline.errors import TrackingError
from pipeline.store.home import Home
from pipeline.tracking.addresses import is_server, tracking_uri

START_SECONDS = 60
LOOPBACK = "127.0.0.1"
ANYWHERE = ("0.0.0.0", "::")
"""To listen on every address of this machine."""
LOCAL_NAMES = ("localhost", "127.0.0.1")
DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""This machine is asked itself: a proxy of the environment does not know it."""


def ui_command(home: Home, host: str = LOOPBACK, port: int = 5055) -> list[str]:
    """The command that serves the UI on the home's store; run it with `ui_environment(home)`, after `prepare_store`.

    Empty if MLFLOW_TRACKING_URI is a server: that is the UI.
    """
    if is_server(tracking_uri(home)):
        return []
    artifacts = (home.mlruns / "artifacts").as_uri()
    return [
        *(sys.executable, "-m", "mlflow", "server", "--artifacts-destination", artifacts),
        *("--host", host, "--port", str(port), "--workers", "1"),
    ]


def ui_environment(home: Home, names: Sequence[str] = (), port: int = 5055) -> dict[str, str]:
    """The environment for `ui_command`: no usage reports, and none of the job runners (8 processes, 1.3 GB).

    The store's address is in it, where only its owner can read it: a command line is read by everybody on a machine.
    `names` are what browsers may call a server by that is open to other machines.
    """
    security = {}
    if names:
        hosts = [form for name in (*LOCAL_NAMES, *names) for form in (name, f"{name}:{port}")]
        origins = [f"{scheme}://{name}:{port}" for name in names for scheme in ("http", "https")]
        security = {
            "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(hosts),
            "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(origins),
        }
    return {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": tracking_uri(home),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        **security,
    }


def is_local(host: str) -> bool:
    """Whether a server bound to that address is reached from this machine alone."""
    return host in ("localhost", "::1") or host.startswith("127.")


def own_names(host: str) -> tuple[str, ...]:
    """What other machines call this one, as far as it knows: its names, the addresses of those, the one bound to."""
    name = socket.gethostname()
    found = [name, socket.getfqdn()]
    with suppress(OSError):
        found += [str(place[4][0]) for place in socket.getaddrinfo(name, None, family=socket.AF_INET)]
    if host not in ANYWHERE:
        found.append(host)
    return tuple(dict.fromkeys(name for name in found if not is_local(name)))


def serve(
    home: Home,
    found: dict[str, str],
    shows: Mapping[str, str],
    *,
    host: str = LOOPBACK,
    names: Sequence[str] = (),
    port: int = 5055,
    open_: str = "",
    say: Callable[[str], None],
    show: Callable[[str], None],
) -> int:
    """Serve until interrupted and show where to look and what is there; the exit code. `open_` names the link to open
    in a browser.

    `host` is the address to listen on; `names` are more names of this machine that browsers may ask for. Where
    MLFLOW_TRACKING_URI is a server, there is nothing to start.
    """
    command = ui_command(home, host, port)
    if not command:
        _show(found, shows, open_, say, show)
        return 0
    check_port(port, "ui", host)
    allowed = () if is_local(host) else tuple(dict.fromkeys([*own_names(host), *names]))
    if allowed:
        say(
            f"warning: there is no password: whoever reaches port {port} of this machine can read, change and delete "
            f"every run; browsers may ask for {', '.join(allowed)} (another name: --allow-host NAME)"
        )
    say("starting MLflow's interface ...")
    log = home.mlruns / "ui.log"
    with open(log, "wb") as output:
        environment = ui_environment(home, allowed, port)
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        _wait_until_ready(process, here(host, port), log, "MLflow's interface")
        _show(found, shows, open_, say, show)
        say("Ctrl-C stops it")
        return process.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        process.terminate()
        process.wait(timeout=20)


def here(host: str, port: int) -> str:
    """The address of a server bound to `host`, for this machine itself."""
    reached = LOOPBACK if host in ANYWHERE else host
    return f"http://{f'[{reached}]' if ':' in reached else reached}:{port}"


EXAMPLE = '{"dataframe_records": [{"label": %s, "n": 4, "seed": 0, "temperature": 0.8}]}'
"""A request, less the label."""


def serve_model(home: Home, model: str, *, port: int, label: str = "0", say: Callable[[str], None]) -> int:
    """MLflow's own scoring server on a model's folder or models:/ address, on loopback, until interrupted; the exit
    code. `label`, as JSON, is for the example of a request that is said."""
    check_port(port, "serve")
    say("starting MLflow's scoring server ...")
    base, log = here(LOOPBACK, port), home.mlruns / "serve.log"
    beside = str(Path(sys.executable).parent)  # uvicorn, which MLflow calls by its name
    environment = {
        **ui_environment(home),
        "PATH": os.pathsep.join([beside, os.environ.get("PATH", os.defpath)]),
        "MLFLOW_TRACKING_URI": tracking_uri(home),
    }
    command = [
        *(sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", model, "--env-manager", "local"),
        *("--host", LOOPBACK, "--port", str(port)),
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


def check_port(port: int, command: str, host: str = LOOPBACK) -> None:
    """TrackingError if somebody listens there."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        if probe.connect_ex((LOOPBACK if host == ANYWHERE[0] else host, port)) == 0:
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


def _show(
    found: dict[str, str],
    shows: Mapping[str, str],
    open_: str,
    say: Callable[[str], None],
    show: Callable[[str], None],
) -> None:
    for name, link in found.items():
        show(f"{name + ':':<8} {shows.get(name, '')}".rstrip())
        show(f"  {link}")
    if open_ and not webbrowser.open(found.get(open_, found["all"])):
        say("no web browser could be started; open one of the addresses above")
