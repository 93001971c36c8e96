"""What a fine-tuned model has to beat: four baselines that cost little."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
import transformers
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from nlp_helpers import session
from nlp_helpers.classification import packing
from nlp_helpers.core.errors import UserError
from nlp_helpers.data.labels import LABEL2ID
from nlp_helpers.data.shards import TokenSet
from nlp_helpers.models import loading

# The bounds that VADER's authors recommend for its compound score.
VADER_BOUND = 0.05
MAX_VADER_LENGTH = 20_000  # characters; its time grows with their square
# Larger forward passes are slower: the allocator gives their memory back to
# the system each time, and gets it anew.
MAX_TOKENS = 2048


def predict_majority(labels: np.ndarray, num_texts: int) -> np.ndarray:
    """Predict the most frequent training label for every text, (N,)."""
    model = DummyClassifier(strategy="most_frequent")
    model.fit(np.zeros((len(labels), 1)), labels)
    return model.predict(np.zeros((num_texts, 1)))


def predict_vader(texts: Sequence[str]) -> np.ndarray:
    """Label by VADER's word list and rules, which learn nothing, (N,).

    Hutto and Gilbert, "VADER: a parsimonious rule-based model for sentiment
    analysis of social media text", ICWSM 2014.
    """
    analyzer = SentimentIntensityAnalyzer()
    texts = [text[:MAX_VADER_LENGTH] for text in texts]
    scores = np.array([analyzer.polarity_scores(t)["compound"] for t in texts])
    labels = np.full(len(scores), LABEL2ID["neutral"])
    labels[scores >= VADER_BOUND] = LABEL2ID["positive"]
    labels[scores <= -VADER_BOUND] = LABEL2ID["negative"]
    return labels


def tfidf_classifier(class_weight: str | None = "balanced") -> Pipeline:
    """Return TF-IDF of words and pairs of words + logistic regression."""
    return make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        LogisticRegression(class_weight=class_weight, max_iter=1000),
    )


def predict_tfidf(
    texts: Sequence[str], labels: np.ndarray, new_texts: Sequence[str]
) -> np.ndarray:
    """Train TF-IDF + balanced logistic regression; predict `new_texts`, (N,).

    Words and pairs of words, each class weighted by the inverse of its size.

    Raises:
        UserError: no training text has a word of two letters or more.
    """
    model = tfidf_classifier()
    try:
        model.fit(texts, labels)
    except ValueError as error:
        if "empty vocabulary" not in str(error):
            raise
        raise UserError(
            f"none of the {len(texts)} training texts has a word of two"
            " letters, so TF-IDF has nothing to count; name other texts"
        ) from error
    return model.predict(new_texts)


def predict_frozen(
    vectors: Sequence[np.ndarray], labels: np.ndarray
) -> np.ndarray:
    """Train a logistic regression on the pretrained encoder's vectors.

    The encoder stays as it is. A text is the mean of the hidden states of
    its tokens, of length 1, which is how MiniLM's sentence vectors are made.

    Args:
        vectors: of the N training texts and the M new ones, (N, H) and (M, H).
        labels: of the training texts, (N,).

    Returns:
        The new texts' labels, (M,).
    """
    model = frozen_classifier()
    model.fit(vectors[0], labels)
    return model.predict(vectors[1])


def frozen_classifier() -> Pipeline:
    """Return balanced logistic regression on vectors of length 1."""
    return make_pipeline(
        Normalizer(),
        LogisticRegression(class_weight="balanced", max_iter=1000),
    )


def frozen_vectors(
    model_name: str,
    token_sets: Sequence[TokenSet],
    device: torch.device | str = "cpu",
) -> list[np.ndarray]:
    """Return a pretrained encoder's vectors of each set, (N, H)."""
    # With a head that is not used: so a lack of other weights is noticed.
    tokenizer, model = loading.load_model(
        model_name,
        transformers.AutoModelForSequenceClassification,
        device,
        new_head=True,
    )
    encoder = cast(transformers.PreTrainedModel, model.base_model)
    return [
        sentence_vectors(tokenizer, encoder, tokens) for tokens in token_sets
    ]


@torch.no_grad()
def sentence_vectors(
    tokenizer: transformers.PreTrainedTokenizerBase,
    model: transformers.PreTrainedModel,
    tokens: TokenSet,
) -> np.ndarray:
    """Return the mean hidden state of each of N texts, (N, H)."""
    lengths = np.array([len(ids) for ids in tokens.input_ids])
    order = np.argsort(lengths, kind="stable")  # so that little is padded
    vectors = np.empty((len(tokens), model.config.hidden_size), np.float32)
    for cut in packing.micro_batches(lengths[order], MAX_TOKENS):
        rows = order[cut]
        batch = tokenizer.pad(
            {"input_ids": [tokens.input_ids[row] for row in rows]},
            return_tensors="pt",
        ).to(model.device)
        with session.autocast(model.device):
            hidden = model(**batch).last_hidden_state.float()
        mask = batch["attention_mask"][..., None]
        means = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        vectors[rows] = means.cpu().numpy()
    return vectors
