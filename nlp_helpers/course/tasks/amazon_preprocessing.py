"""Tasks of notebook 04: records and labels, then padding and splits."""

from nlp_helpers.course.tasks import review_labels, review_splits

TASKS = (*review_labels.TASKS, *review_splits.TASKS)
