"""Settings of a run: names, ranges, presets, digests. Does not know torch, stages or paths."""
