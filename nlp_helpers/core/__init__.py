"""Paths, files, errors, YAML, engines: knows nothing of language."""
