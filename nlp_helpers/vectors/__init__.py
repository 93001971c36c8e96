"""Words and sentences as vectors, notebook 07."""
