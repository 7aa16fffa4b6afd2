"""A configuration with a ledger: runs recorded by a tracker, and the baselines that are runs side by side.

What a tracker shows of a run is said once, in `record`: trials of a sweep and cells of an ablation use its words.
"""
