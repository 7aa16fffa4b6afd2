"""One configuration opened on a split: executed stage by stage, read back, compared as pairs. No ledger.

Configuration in, stored outcome out: nothing here knows who asked, a command or the worker of a sweep.
"""
