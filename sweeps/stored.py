"""A study as ledger and store have it. Loads nothing that trains, draws or records, nor Optuna."""

from pipeline.store.home import Home
from sweeps.analysis.summary import Summary, summarise
from sweeps.study.config import stored_config
from sweeps.study.reading import stored_study


def stored_summary(home: Home, name: str) -> Summary:
    """A study as the ledger and the store have it, finals included; StudyError if there is none of that name."""
    study = stored_study(home, name)
    return summarise(home, study, stored_config(study))
