"""Content-addressed results and the directories of an installation. Knows nothing of what is inside."""
