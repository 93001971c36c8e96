"""A classifier of texts: notebook 05."""
