"""Where trials run: jobs in, events out, whichever executor. Knows no ledger.

The same jobs give the same outcomes wherever they run; `placement` says which executor a command gets.
"""
