"""Sweeps over pipeline runs: search space, proposals, executors, study, summary. The only home of Optuna.

`driver` and `ablation` are the two loops, each to be read on two screens; `tracked`, `record` and `progress` are what
MLflow and the terminal are told on the way. A trial is a run of `pipeline`, and knows nothing of the sweep it is in.
"""
