"""The door for programs and notebooks: what the commands do, as functions that return values and print nothing.

    config = configure("digits", beta=2.0, epochs=20)
    result = run(config)                       # trained, scored, recorded, reported; .metrics, .history, .model
    found = sweep(study(config), trials=16)    # .trials is a DataFrame; .front, .choice
    images = samples(result, label=3, n=8)     # (8, H, W) in [0, 1]

Mistakes are exceptions of `pipeline.errors`. Everything is kept below a `Home` (by default the one that the commands
use: $CVAE_PIPE_HOME or the current directory), so that a repeated call finds what is there. Importing this module is
cheap; the libraries come with the first call.
"""

from pipeline.api.keeping import collect, doctor, home_status, pack, rebuild_report, remove, sync, unpack
from pipeline.api.opening import (
    EXPERIMENT,
    LOADING,
    Progress,
    Say,
    busy,
    connect,
    experiment_name,
    open_context,
    working,
)
from pipeline.api.planning import plan_ablation, plan_baselines, plan_run, plan_sweep
from pipeline.api.runs import (
    Run,
    anomalies,
    bar,
    baselines,
    configure,
    denoise,
    export,
    load_run,
    look,
    package,
    run,
    samples,
)
from pipeline.api.studies import (
    FINAL_SEEDS,
    Study,
    ablate,
    checked_closing,
    continue_study,
    free_study_name,
    grid,
    held_study,
    load_study,
    replaced_by_search,
    study,
    sweep,
)

__all__ = [
    "EXPERIMENT",
    "FINAL_SEEDS",
    "LOADING",
    "Progress",
    "Run",
    "Say",
    "Study",
    "ablate",
    "anomalies",
    "bar",
    "baselines",
    "busy",
    "checked_closing",
    "collect",
    "configure",
    "connect",
    "continue_study",
    "denoise",
    "doctor",
    "experiment_name",
    "export",
    "free_study_name",
    "grid",
    "held_study",
    "home_status",
    "load_run",
    "load_study",
    "look",
    "open_context",
    "pack",
    "package",
    "plan_ablation",
    "plan_baselines",
    "plan_run",
    "plan_sweep",
    "rebuild_report",
    "remove",
    "replaced_by_search",
    "run",
    "samples",
    "study",
    "sweep",
    "sync",
    "unpack",
    "working",
]
