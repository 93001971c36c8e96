"""The three classes, and the rules that make them of stars and ratings."""

ID2LABEL = {0: "neutral", 1: "positive", 2: "negative"}
LABEL2ID = {label: index for index, label in ID2LABEL.items()}


def label_of(overall: float) -> int:
    """Turn stars into a label: 4 and more 1, less than 3 2, else 0."""
    if overall >= 4:
        return LABEL2ID["positive"]
    return LABEL2ID["negative"] if overall < 3 else LABEL2ID["neutral"]


def stars_from_valence(valence: float) -> float:
    """Turn a mean human rating in [-4, 4] into 1 to 5 stars.

    Zero is the middle, three stars; each point is a star up or down.
    """
    return float(min(5, max(1, round(3 + valence))))
