"""The batch side: runs the notebooks headless. Nothing else imports it."""
