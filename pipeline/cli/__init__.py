"""The command line: options in, one call, one result out. It alone knows Typer, and it holds no logic.

A file per thing that commands act on: stages, runs, sweeps, reports, the interface. Flags come from the table of daily
settings; results go to stdout, how it went and what comes next to stderr. Libraries are loaded inside a command, so
that --help is instant.
"""
