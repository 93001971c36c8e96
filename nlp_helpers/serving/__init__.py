"""Models behind HTTP: one process, one inference thread, packed batches."""
