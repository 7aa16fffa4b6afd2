"""What a study found: trials as a table, the front, the choice, importances, trends. Tables in, numbers out."""
