"""What became of the records of a review file, and whether that will do."""

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from nlp_helpers.core.errors import UserError
from nlp_helpers.data import ratings
from nlp_helpers.data.fields import Names, Wanted, parts_of
from nlp_helpers.data.formats import Form
from nlp_helpers.data.records import (
    NO_LABEL,
    NO_RATING,
    NO_TEXT,
    NOT_UTF8,
    OFF_SCALE,
)

FIRST_SHOWN = 3  # rejects that an error message names
MAX_DISTINCT = 1000  # ratings that are told apart
MIN_RATINGS = 50  # before it means something that none is the best


@dataclass
class Report:
    """What became of the records of one file."""

    path: Path
    form: Form
    columns: list[str]  # what its first records have
    names: Names  # field -> the names it is read from
    wanted: Wanted
    reader: str = "strict"  # or lenient, if DuckDB could not read the file
    rows: int = 0
    kept: int = 0
    dropped: Counter = field(default_factory=Counter)  # reason -> records
    repaired: Counter = field(default_factory=Counter)  # repair -> records
    ratings: Counter = field(default_factory=Counter)  # also off the scale
    labels: Counter = field(default_factory=Counter)  # of what is kept
    doubtful: int = 0  # records that the lenient reader was asked about
    garbled_line: int = 0  # of the first record that is not UTF-8
    rejects: list[dict[str, Any]] = field(default_factory=list)

    def has(self, name: str) -> bool:
        """Say whether the file has what a name stands for."""
        return all(part in self.columns for part in parts_of(name))

    def check(self, max_bad_fraction: float) -> None:
        """Raise a UserError if too many records were dropped or garbled.

        Or if the ratings look like those of another scale.
        """
        assert self.rows == self.kept + sum(self.dropped.values())
        garbled = self.repaired[NOT_UTF8]
        if garbled > max_bad_fraction * self.rows:
            raise UserError(
                f"{self.path}: {garbled} of {self.rows} records are not UTF-8,"
                f" the first on line {self.garbled_line}, more than"
                f" max_bad_fraction {max_bad_fraction:.1%} allows; mend them,"
                " or convert a file of another encoding (`iconv -f ENCODING -t"
                " utf-8`), or raise max_bad_fraction"
            )
        bad = sum(self.dropped.values())
        if bad > max_bad_fraction * self.rows:
            counts = self.dropped.items()
            reasons = ", ".join(f"{n} {why}" for why, n in counts)
            first = "; ".join(
                f"line {reject['line']}: {reject['reason']}"
                for reject in self.rejects[:FIRST_SHOWN]
            )
            raise UserError(
                f"{self.path}: {bad} of {self.rows} records"
                f" ({bad / self.rows:.1%}) cannot be used ({reasons}), more"
                f" than max_bad_fraction {max_bad_fraction:.1%} allows;"
                f" {first}; see rejects.jsonl in output_dir; {self._remedy()}"
            )
        if self._is_doubtful():
            raise UserError(
                f"{self.path}: {self._describe_scale()}; for stars that never"
                " reach five, rating_scale: [1, 5]"
            )

    def _is_doubtful(self) -> bool:
        """Say whether stars were assumed, and none of many is the best.

        A single rating may be all there is: some sort files by it.
        """
        many = self.kept >= MIN_RATINGS and len(self.ratings) > 1
        assumed = not self.wanted.rating_scale
        return assumed and many and max(self.ratings) < ratings.STARS[1]

    def _describe_scale(self) -> str:
        return ratings.describe_scale(self.ratings, self.wanted.scale)

    def _remedy(self) -> str:
        """Say what to do about most of the dropped records."""
        reason, _ = self.dropped.most_common(1)[0]
        if reason == OFF_SCALE and self.ratings:
            return self._describe_scale()
        if self.kept or reason not in (NO_TEXT, NO_RATING, NO_LABEL):
            bad = sum(self.dropped.values()) / self.rows
            enough = math.ceil(bad * 100) / 100
            return f"mend the file, or raise max_bad_fraction to {enough}"
        name, parameter = (
            ("text", "text_field")
            if reason == NO_TEXT
            else ("overall", "label_field")
        )
        first = next(r for r in self.rejects if r["reason"] == reason)
        return (
            f"there, {' or '.join(self.names[name])} holds {first['value']};"
            f" mend it, or name another field as {parameter}: the file has"
            f" {', '.join(self.columns)}"
            + "; set label_rule to values if it is a label"
            * (reason == NO_RATING)
        )


def count_rating(report: Report, rating: float | None) -> None:
    """Count one rating, unless it is none or endless."""
    if rating is not None and math.isfinite(rating):
        if len(report.ratings) < MAX_DISTINCT:
            report.ratings[round(rating, 2)] += 1


def count_values(counter: Counter, values: pa.Array) -> None:
    """Count how often each value occurs, as long as they are few."""
    if len(counter) < MAX_DISTINCT:
        for count in pc.value_counts(values.drop_null()).to_pylist():
            counter[count["values"]] += count["counts"]
