"""Judges trained by processes of their own, side by side, while the first trials train. Knows stages; no ledger.

A score waits for its judges by the store's locks alone: whoever needs one that is being trained waits for it, and if
its process has died trains it. So nothing here decides what a number is, only when it is there.
"""

import contextlib
import logging
import os

from pipeline.config.settings import RunConfig
from pipeline.errors import CvaePipeError, StudyError
from pipeline.evaluation.judges.networks import Kind
from pipeline.stages.context import Context
from pipeline.stages.graph import JUDGE, PANEL
from pipeline.stages.judge import JUDGE_KINDS, judge, one_judge, part_of_judge
from pipeline.stages.panel import panel_configs
from pipeline.store.home import Home
from sweeps.execution import worker as workers
from sweeps.execution.worker import Pipe, Worker, end_all, start_worker

log = logging.getLogger("cvae-pipe")


class JudgesBeside:
    """The judges that a configuration lacks, under way; without a judge that is missing, nothing is started."""

    def __init__(self, ctx: Context) -> None:
        self.progress: dict[str, str] = {}
        """How far each is, e.g. {"judge A": "3/12 loss 0.041"}; empty once all are there."""
        missing = [kind for kind in JUDGE_KINDS if not ctx.home.store.has(*part_of_judge(ctx.config, kind))]
        if not JUDGE.when(ctx.config, "val") or ctx.home.store.has(JUDGE.name, JUDGE.key(ctx.config)):
            missing = []
        self._processes = {kind: start_worker(_train, ctx.home, ctx.config, kind) for kind in missing}
        self.progress |= {_called(kind): "starting" for kind in missing}

    @property
    def done(self) -> bool:
        return not self._processes

    def poll(self) -> bool:
        """Hear how they are; whether the last of them has just come to its end. StudyError if one cannot be trained."""
        some = not self.done
        for kind, worker in list(self._processes.items()):
            listen(worker, _called(kind))
            while worker.said:
                said: str | Exception = worker.said.popleft()
                if isinstance(said, Exception):
                    raise said
                self.progress[_called(kind)] = said
            if worker.gone:  # it is done, or dead: then who needs the judge trains it
                end_all([worker])
                del self._processes[kind], self.progress[_called(kind)]
        return some and self.done

    def watch(self) -> None:
        """End those that hang: then who needs the judge trains it."""
        for kind, worker in self._processes.items():
            listen(worker, _called(kind))

    def close(self) -> None:
        """Stop them now; a judge that is unfinished is begun anew the next time."""
        end_all(list(self._processes.values()))
        self._processes.clear()


def listen(worker: Worker, what: str) -> None:
    """Take in what a process says; end it if it hangs, since others wait for the lock that it holds."""
    worker.listen()
    if worker.hung:
        log.warning("%s: its process %d has not moved for %g s; it is ended", what, worker.pid, workers.STILL_SECONDS)
        worker.end()


POLITE = 10
"""What the processes of a panel add to their niceness: the trials go first."""


class PanelBeside:
    """The other judges of a panel, a process for each seed, while the trials train; without any missing, none starts.

    What is unfinished when a score needs it, the score waits for.
    """

    def __init__(self, config: RunConfig, home: Home) -> None:
        others = panel_configs(config) if PANEL.when(config, "test") else []
        missing = [other for other in others if not home.store.has(JUDGE.name, JUDGE.key(other))]
        self._processes = [start_worker(_train_politely, home, other) for other in missing]

    def watch(self) -> None:
        """End those that hang: then who needs the judges trains them."""
        for worker in self._processes:
            listen(worker, "another judge")

    def close(self) -> None:
        """Stop them now; a judge that is unfinished is begun anew the next time."""
        end_all(self._processes)
        self._processes.clear()


def _train_politely(line: Pipe, home: Home, config: RunConfig) -> None:
    """A process that trains both judges of a seed when the machine has nothing better to do."""
    os.nice(POLITE)
    from pipeline.runs.execute import set_up_process

    set_up_process(config.runtime.threads)
    with contextlib.suppress(CvaePipeError):  # whoever needs the judge hears of it
        judge(Context(config, home))


def _called(kind: Kind) -> str:
    return f"judge {kind.upper()}"


def _train(line: Pipe, home: Home, config: RunConfig, kind: Kind) -> None:
    """A process that trains one judge and says how far it is."""
    from pipeline.runs.execute import set_up_process

    set_up_process(config.runtime.threads)

    def progress(what: str, done: int, total: int, note: str) -> None:
        line.send(f"{done}/{total} {note}")

    try:
        one_judge(Context(config, home, progress=progress), kind)
    except Exception as error:
        line.send(StudyError(f"{_called(kind)} could not be trained: {error}"))
