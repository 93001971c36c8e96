"""Labels on tokens and answers in texts, notebook 07."""
