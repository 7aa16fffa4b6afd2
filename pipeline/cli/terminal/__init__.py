"""What the terminal shows: progress, tables, the live sweep, images. Readable piped, narrow and without colour.

Knows Rich and what there is to show; starts nothing and decides nothing.
"""
