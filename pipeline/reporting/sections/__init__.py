"""One file per section of a run's report: a stored outcome in, blocks out."""
