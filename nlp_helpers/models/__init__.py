"""A name -> tokenizer and model. Empty: workers need no torch."""
