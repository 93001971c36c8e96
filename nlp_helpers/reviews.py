"""Amazon reviews: find, read, label, deduplicate, split.

`reviews.yaml` lists the sources. Every source ends as JSON-lines files in the
form of the 2014 Amazon data: `asin`, `reviewText`, `overall` and, where it is
known, `reviewerID` or `reviewID`.
"""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict
from sklearn.model_selection import StratifiedGroupKFold

from nlp_helpers import files, paths
from nlp_helpers.errors import UserError

ID2LABEL = {0: "neutral", 1: "positive", 2: "negative"}
LABEL2ID = {label: index for index, label in ID2LABEL.items()}
HERE = Path(__file__).parent


class ReviewSource(BaseModel):
    """One entry of reviews.yaml; which fields it has depends on `source`."""

    model_config = ConfigDict(extra="forbid")

    source: Literal["package", "download"]
    licence: str
    categories: dict[str, Any]
    distribution: str | None = None
    package: str | None = None
    file: str | None = None
    sha256: str | None = None
    url: str | None = None


def registry() -> dict[str, ReviewSource]:
    """Read reviews.yaml."""
    text = (HERE / "reviews.yaml").read_text(encoding="utf-8")
    entries = yaml.safe_load(text)
    return {name: ReviewSource(**entry) for name, entry in entries.items()}


def fetch(source: str, categories: list[str]) -> dict[str, Path]:
    """Return one JSON-lines file a category, from a package or a download.

    Args:
        source: a name of reviews.yaml.
        categories: names of that source's categories; empty means all.

    Raises:
        UserError: an unknown name, a missing package, or no network.
    """
    entries = registry()
    if source not in entries:
        raise UserError(
            f"no reviews are called {source!r}; known: {', '.join(entries)}"
        )
    entry = entries[source]
    unknown = set(categories) - set(entry.categories)
    if unknown:
        raise UserError(
            f"{source} has no category {', '.join(sorted(unknown))}; it has"
            f" {', '.join(entry.categories)}"
        )
    chosen = categories or list(entry.categories)
    if entry.source == "package":
        folder = _export_snippets(source, entry)
        return {name: folder / f"{name}.jsonl" for name in chosen}
    return {name: _download(source, entry, name) for name in chosen}


def stars_from_valence(valence: float) -> float:
    """Turn a mean human rating in [-4, 4] into 1 to 5 stars.

    Zero is the middle, three stars; each point is a star up or down.
    """
    return float(min(5, max(1, round(3 + valence))))


def _export_snippets(source: str, entry: ReviewSource) -> Path:
    """Write the packaged rated sentences in the form of the 2014 data."""
    target = paths.cache_folder() / "reviews" / f"{source}-{entry.sha256[:12]}"
    if target.is_dir():
        return target
    original = paths.package_folder(entry.package, entry.distribution)
    original = original / entry.file
    files.check_sha256(original, entry.sha256)
    _, *rows = original.read_text(encoding="utf-8").splitlines()
    lines: dict[str, list[str]] = {name: [] for name in entry.categories}
    for row in rows:
        identifier, valence, text = row.split("\t")
        review = int(identifier.split("_")[0])
        [product] = [
            name
            for name, (first, last) in entry.categories.items()
            if first <= review <= last
        ]
        record = {
            "reviewID": str(review),
            "asin": product,
            "reviewText": text.strip(),
            "overall": stars_from_valence(float(valence)),
        }
        lines[product].append(json.dumps(record))
    with files.staged_folder(target) as staging:
        for product, records in lines.items():
            content = "\n".join(records) + "\n"
            (staging / f"{product}.jsonl").write_text(content)
    return target


def _download(source: str, entry: ReviewSource, category: str) -> Path:
    """Download the file of one category into the cache, once."""
    import pooch
    import requests

    url = entry.url.format(category=category)
    folder = paths.cache_folder() / "reviews" / source
    try:
        path = pooch.retrieve(
            url, known_hash=None, path=folder, fname=url.rsplit("/", 1)[1]
        )
    except requests.RequestException as error:
        raise UserError(
            f"reviews of {category} ({url}) cannot be downloaded"
            f" ({type(error).__name__}); use the offline profile, which needs"
            " no network"
        ) from error
    return Path(path)


def read(
    review_files: dict[str, Path], sample_per_category: int = 0, seed: int = 0
) -> tuple[pd.DataFrame, Counter]:
    """Read JSON-lines files, plain or .gz, and count what is left out.

    Args:
        review_files: category -> file.
        sample_per_category: keep so many reviews of each category, drawn with
            `seed`; 0 keeps all.
        seed: seeds the draw.

    Returns:
        A table with columns `text`, `overall`, `category`, `group` (the
        sentences or reviews that must stay on one side of a split) and a
        count of lines: `kept`, and one entry for every reason to drop.
    """
    tables, counts = [], Counter()
    for category, path in review_files.items():
        rows = []
        for number, line in enumerate(_lines(path), start=1):
            row, reason = _parse(line)
            if reason:
                counts[reason] += 1
                continue
            row["group"] = f"{category}/{row['group'] or number}"
            rows.append({**row, "category": category})
        table = pd.DataFrame(
            rows, columns=["text", "overall", "category", "group"]
        )
        if 0 < sample_per_category < len(table):
            counts["not sampled"] += len(table) - sample_per_category
            table = table.sample(sample_per_category, random_state=seed)
        counts["kept"] += len(table)
        tables.append(table)
    return pd.concat(tables, ignore_index=True), counts


def _lines(path: Path) -> Iterator[str]:
    """Read the lines of a plain or gzipped file."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            yield from lines
    except (gzip.BadGzipFile, EOFError) as error:
        raise UserError(
            f"{path} is damaged ({error}); delete it, and it is fetched again"
        ) from error


def _parse(line: str) -> tuple[dict[str, Any], str]:
    """Turn one line into a row, or say why it is dropped."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return {}, "damaged JSON"
    if not isinstance(record, dict):
        return {}, "damaged JSON"
    text, overall = record.get("reviewText"), record.get("overall")
    if not isinstance(text, str) or not text.strip():
        return {}, "no text"
    if isinstance(overall, bool) or not isinstance(overall, int | float):
        return {}, "no rating"
    if not 0 <= overall <= 5:  # also true for NaN
        return {}, "rating outside 0 to 5"
    group = record.get("reviewID")
    if group is None and "reviewerID" in record:
        group = f"{record['reviewerID']} on {record.get('asin')}"
    return {
        "text": text.strip(),
        "overall": float(overall),
        "group": group,
    }, ""


def label_of(overall: pd.Series) -> pd.Series:
    """Turn stars into labels: 4 and more 1, less than 3 2, else 0."""
    positive = LABEL2ID["positive"]
    negative = LABEL2ID["negative"]
    labels = np.select(
        [overall >= 4, overall < 3],
        [positive, negative],
        default=LABEL2ID["neutral"],
    )
    return pd.Series(labels, index=overall.index, name="label")


def drop_duplicates(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the first of all rows whose text differs in case or spaces only."""
    normalised = table["text"].str.casefold().str.split().str.join(" ")
    return table[~normalised.duplicated()].reset_index(drop=True)


def split(
    table: pd.DataFrame, test_size: float, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split into training and validation, stratified, groups kept whole.

    Args:
        table: has columns `label` and `group`.
        test_size: validation share, one over a whole number: the rows are
            dealt into that many folds, and one of them is held out.
        seed: seeds the shuffle.

    Raises:
        UserError: `test_size` is not one over a whole number.
    """
    num_folds = round(1 / test_size)
    if abs(1 / num_folds - test_size) > 0.01:
        raise UserError(
            f"test_size is {test_size}; it must be one over a whole number,"
            " such as 0.5, 0.33, 0.25, 0.2 or 0.1"
        )
    folds = StratifiedGroupKFold(
        n_splits=num_folds, shuffle=True, random_state=seed
    )
    training, validation = next(
        folds.split(table, table["label"], table["group"])
    )
    return (
        table.iloc[training].reset_index(drop=True),
        table.iloc[validation].reset_index(drop=True),
    )
