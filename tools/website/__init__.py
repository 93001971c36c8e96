"""The site and the slides: what is read without running anything."""
