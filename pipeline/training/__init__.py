"""Training one model or a population: batches in, a record per epoch out. Knows no stores, trackers or trials.

The loop yields facts; whoever called it decides what to do with them. What it needs to go on after an interruption is
in `state`, to the last bit.
"""
