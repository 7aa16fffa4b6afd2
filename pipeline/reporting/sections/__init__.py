"""One file per section of a run's report: a stored outcome in, a section out. Knows no other section.

`X.py` holds `X_section`; `pipeline/reporting/run.py` is the list of them, in the order of reading. A section that has
nothing to say of a run has no blocks, and is left out of the page.
"""
