"""Fine-tuning a classifier: notebook 05 and `-m nlp_helpers.fine_tuning`."""
