"""`python -m nlp_helpers`: see `nlp_helpers.batch.cli`."""

from nlp_helpers.batch.cli import main

if __name__ == "__main__":
    main()
