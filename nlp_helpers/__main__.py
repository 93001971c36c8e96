"""`python -m nlp_helpers`: see `nlp_helpers.cli`."""

from nlp_helpers.cli import main

if __name__ == "__main__":
    main()
