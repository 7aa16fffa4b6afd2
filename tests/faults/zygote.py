"""Commands in processes that have everything imported: a kill and its repeat take seconds.

    python zygote.py    reads one JSON document a line - {"arguments", "home", "log", "trace", "lethal", "once",
                        "interrupt_after", "quiet"}, all but the first three if need be - and answers each with the
                        exit status of the command, as soon as it has ended

A command is a fork of this process, its workers are forks of it: all code but multiprocessing's own start of a fresh
interpreter is what a user runs.
"""

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path

# the root before tests/, which has a folder of the same name
sys.path[:0] = [str(Path(__file__).parents[n]) for n in (0, 2, 1)]


def preload() -> None:
    """Import what a sweep imports; run nothing of it, so that there is no thread yet."""
    import matplotlib

    matplotlib.use("agg")
    import mlflow.pyfunc
    import mlflow.store.tracking.sqlalchemy_store
    import optuna
    import seaborn
    import sklearn.ensemble
    import torch
    import torchmetrics

    import pipeline.api
    import pipeline.cli.main
    import sweeps.driver
    from pipeline.tracking import mlflow_module

    mlflow_module()
    assert all((mlflow.pyfunc, optuna, seaborn, sklearn.ensemble, torchmetrics, pipeline.api, sweeps.driver))
    torch.set_num_threads(1)


def command(order: dict) -> None:
    """The command itself, in this process, to its end."""
    from points import Point, Points

    import sweeps.execution.worker as worker
    from pipeline.cli import main as cli

    log = os.open(order["log"], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ["CVAE_PIPE_HOME"] = order["home"]
    os.chdir(order["home"])
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    worker.multiprocessing = _Forking()  # type: ignore[assignment]
    trace, once = (Path(order[name]) if order.get(name) else None for name in ("trace", "once"))
    lethal = Point(*order["lethal"]) if order.get("lethal") else None
    if trace or lethal:
        Points(Path(order["home"]), trace, lethal, once).install()
    if order.get("quiet"):
        import sweeps.driver

        sweeps.driver.write_sweep_report = _no_figures
    if order.get("interrupt_after") is not None:
        threading.Thread(target=_interrupt, args=(order["interrupt_after"], Path(order["once"])), daemon=True).start()
    sys.argv = ["cvae-pipe", *order["arguments"]]
    cli.main()


def _no_figures(home: object, summary: object, folder: Path) -> Path:
    """The files of a report without what takes seconds, where the report is not what is tested."""
    from pipeline.store.files import write_atomically

    for name in ("report.html", "report.md", "trials.csv"):
        write_atomically(folder / name, name)
    return folder / "report.html"


def _interrupt(seconds: float, when: Path) -> None:
    """Ctrl-C after so long, and the moment written down."""
    time.sleep(seconds)
    when.write_text(repr(time.monotonic()))
    os.kill(os.getpid(), signal.SIGINT)


class _Forking:
    """multiprocessing, whose fresh interpreters are forks."""

    def __getattr__(self, name: str) -> object:
        return getattr(multiprocessing, name)

    def get_context(self, kind: str) -> object:
        return multiprocessing.get_context("fork")


def main() -> None:
    preload()
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            try:
                command(json.loads(line))
            except SystemExit as error:
                code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
            except BaseException:
                import traceback

                traceback.print_exc()
                code = 1
            else:
                code = 0
            sys.stdout.flush()
            sys.stderr.flush()
            import atexit

            atexit._run_exitfuncs()
            os._exit(code)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(status, flush=True)


if __name__ == "__main__":
    main()
