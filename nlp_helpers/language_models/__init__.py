"""Next tokens and masked tokens: notebooks 1 to 3."""
