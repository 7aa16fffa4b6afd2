"""What a study asks and is told: settings, space, objectives, ledger, proposals. With `analysis`, the only Optuna.

What comes next, and who is stopped, are pure functions of the results so far; the ledger only remembers. Knows no
worker and no tracker.
"""
