"""Training one model or a population: batches in, a record per epoch out. Knows no stores, trackers or trials."""
