"""Helpers shared by the five notebooks: one module, one stage or service."""

__version__ = "0.1.0"
