"""Tasks of notebook 05: training and evaluation, then own texts."""

from nlp_helpers.course.tasks import bert_evaluation, bert_training

TASKS = (
    *bert_training.TASKS,
    *bert_evaluation.TASKS,
    *bert_training.OWN_TASKS,
    *bert_evaluation.OWN_TASKS,
)
