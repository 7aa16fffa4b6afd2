"""Where trials run: jobs in, events out, whichever executor. Knows no ledger."""
