"""What a study asks and is told: settings, space, objectives, ledger, proposals. With `analysis`, the only Optuna."""
