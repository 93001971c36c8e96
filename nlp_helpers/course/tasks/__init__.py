"""The tasks, one module for each notebook, and their usual mistakes."""
