"""Data sets as uint8 tensors in memory, split into train, val and test. Does not know models, nor the store.

A source reads the official images; `preparing` draws the splits, the same way for all of them.
"""
