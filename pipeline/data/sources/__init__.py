"""Where data sets come from: one file per kind of source, and the table of them. A source knows no split of ours.

Raw files are checked before they are read, and fetched where they are missing and may be.
"""
