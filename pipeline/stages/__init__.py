"""Where configuration and store meet: what each stage's key is made of, how it is built, how it is loaded.

`graph` is the table of stages and needs no torch; the others are a stage each. A stage builds what is missing before
it. Knows no tracker and no report.
"""
