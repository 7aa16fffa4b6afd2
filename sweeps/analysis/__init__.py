"""What a study found: trials as a table, the front, the choice, importances, trends. Tables in, numbers out.

Reads ledger and store, writes best.toml and nothing else; what is said of it stands in `reporting`.
"""
