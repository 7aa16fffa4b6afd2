"""What the tests of house-keeping share: a small study made in this process, and everything a home holds."""

from helpers import Here, quick_config

from pipeline import api
from sweeps.driver import sweep
from sweeps.study.closing import Closing
from sweeps.study.config import StudyConfig
from sweeps.study.objective import chosen
from sweeps.study.space import build_space


def swept(home, name, *, seed=0, trials=2):
    """A study of a few trials and one final."""
    base = quick_config(train__epochs=1)
    config = StudyConfig(name, base, build_space({}, ()), chosen((), "cvae", base.sampling.prior), seed=seed, window=1)
    return sweep(
        api.open_context(base, home),
        config,
        trials=trials,
        closing=Closing(1, (), 1),
        connect=lambda: api.connect(home),
        make_executor=Here,
        workers=1,
    )


def everything(home):
    """Every file of a home by its path, less locks, with its bytes."""
    files = (p for p in home.root.rglob("*") if p.is_file() and "locks" not in p.parts and ".lock" not in p.name)
    return {str(p.relative_to(home.root)): p.read_bytes() for p in files}
