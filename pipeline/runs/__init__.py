"""One configuration opened on a split: executed stage by stage, read back, compared as pairs. No ledger."""
