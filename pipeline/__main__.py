"""`python -m pipeline`: the command, where its script is not on the path."""

from pipeline.cli.main import main

main()
