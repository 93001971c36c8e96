"""What a classifier of reviews reaches on texts of other kinds."""

import pandas as pd
from transformers import PreTrainedTokenizerBase

from nlp_helpers.classification import evaluation, predicting
from nlp_helpers.classification.classifier import Classifier
from nlp_helpers.data import rated_texts
from nlp_helpers.data.labels import LABEL2ID

KINDS = ("tweets", "film-reviews", "editorials")  # of rated_texts.yaml
MAX_TEXTS = 500  # of each kind; a few seconds


def score_other_texts(
    tokenizer: PreTrainedTokenizerBase,
    model: Classifier,
    max_texts: int = MAX_TEXTS,
    seed: int = 0,
) -> pd.DataFrame:
    """Score a classifier of the three sentiments on rated texts.

    The classes are made of people's mean ratings by the rule that makes
    classes of the packaged reviews' (`rated_texts.read`).

    Args:
        tokenizer: the classifier's own.
        model: of the classes neutral, positive, negative.
        max_texts: of each kind, drawn at random.
        seed: of that draw.

    Returns:
        A row for each kind: `texts`, and what `evaluation.compare` has.

    Raises:
        UserError: the package of the rated texts is missing or damaged.
    """
    rows = {}
    for kind in KINDS:
        rated = rated_texts.read(kind)
        rated = rated.sample(min(max_texts, len(rated)), random_state=seed)
        answers = predicting.classify(rated["text"], tokenizer, model)
        predicted = [LABEL2ID[answer["label"]] for answer in answers]
        scores = evaluation.compare(
            rated["label"].map(LABEL2ID).to_numpy(),
            {kind: pd.Series(predicted).to_numpy()},
            rated["group"],
        )
        rows[kind] = {"texts": len(rated), **scores.loc[kind]}
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.astype({"texts": int})
