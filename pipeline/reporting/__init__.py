"""A report as a value, its two renderings, and what a report says of runs. Measures nothing, draws through `plots`.

Stored outcomes in, `blocks.Report` out; `html` and `markdown` render any report alike. A number is never typed in or
formatted by hand: `citation` makes it from the store and lets it carry where it came from.
"""
