"""Review files -> token shards. Empty: workers need no torch."""
