"""Settings of a run: names, ranges, presets, digests. Does not know torch, stages or paths.

A section is frozen, checked when it is made, and a unit of the cache key. Whatever a setting is called here it is
called everywhere: flag, TOML key, MLflow parameter, column.
"""
