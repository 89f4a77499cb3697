"""`run.json`: its schema, its input files, and repeating a run."""
