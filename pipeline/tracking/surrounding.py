"""A run of the user's own that is open where we are called, as `with mlflow.start_run():` opens one."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.errors import cause
from pipeline.store.home import Home
from pipeline.tracking.addresses import tracking_uri
from pipeline.tracking.database import opened, shown


@dataclass(frozen=True)
class Surrounding:
    """The run that what we record is a child of, and its experiment, where children are looked for."""

    run_id: str
    experiment: str


def surrounding_run(home: Home, on_warning: Callable[[str], None]) -> Surrounding | None:
    """The innermost active run of this thread; None where there is none, or one that is in another store, which is
    warned of. Loads no MLflow: who has an active run has loaded it."""
    mlflow = sys.modules.get("mlflow")
    active = getattr(mlflow, "active_run", lambda: None)()
    if mlflow is None or active is None:
        return None
    client = opened(home)
    try:
        there = client.get_run(active.info.run_id)
        return Surrounding(there.info.run_id, client.get_experiment(there.info.experiment_id).name)
    except (mlflow.exceptions.MlflowException, OSError) as error:
        on_warning(
            f"the active MLflow run {active.info.run_name} is not in {shown(tracking_uri(home))} ({cause(error)}), and "
            "this is recorded on its own; mlflow.set_tracking_uri() before it starts makes both one store"
        )
        return None
