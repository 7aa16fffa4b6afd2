"""Sweeps over pipeline runs: search space, proposals, executors, study, summary. The only home of Optuna."""
