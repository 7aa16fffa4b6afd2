"""A configuration with a ledger: runs recorded by a tracker, and the baselines that are runs side by side."""
