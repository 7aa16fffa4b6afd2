"""The command line: options in, one call, one result out. It alone knows Typer, and it holds no logic."""
