"""Content-addressed results and the directories of an installation. Knows nothing of what is inside.

A key leads to a directory that is whole or absent, whoever is killed in between.
"""
