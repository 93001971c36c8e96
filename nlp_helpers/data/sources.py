"""Amazon reviews: where their files come from.

`reviews.yaml` lists the sources; a folder of your own files is one too. The
packaged source is written out in the form of the 2014 Amazon data: `asin`,
`reviewText`, `overall` and `reviewID`.
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from nlp_helpers.core import files, folders, paths, yaml_files
from nlp_helpers.core.errors import UserError
from nlp_helpers.data import downloads
from nlp_helpers.data.labels import stars_from_valence

REGISTRY = Path(__file__).with_name("reviews.yaml")


class _Entry(BaseModel):
    """What every entry of reviews.yaml has."""

    model_config = ConfigDict(extra="forbid")

    licence: str


class PackagedReviews(_Entry):
    """A file of rated sentences in an installed package."""

    source: Literal["package"]
    distribution: str
    package: str
    file: str
    sha256: str
    categories: dict[str, tuple[int, int]]  # name -> first and last number


class PackagedTable(_Entry):
    """A table of texts and labels in an installed package."""

    source: Literal["table"]
    distribution: str
    package: str
    file: str
    sha256: str

    @property
    def categories(self) -> dict[str, int]:
        """Its one category, named after the file."""
        return {Path(self.file).stem: 0}

    def path(self) -> Path:
        """Return the file, whose content is as it was published."""
        folder = paths.package_folder(self.package, self.distribution)
        remedy = paths.reinstall(self.distribution)
        files.check_sha256(folder / self.file, self.sha256, remedy)
        return folder / self.file


class DownloadedReviews(_Entry):
    """A file for each category, at an address that names it."""

    source: Literal["download"]
    url: str
    categories: dict[str, int]  # name -> rows, or 0


ReviewEntry = Annotated[
    PackagedReviews | PackagedTable | DownloadedReviews,
    Field(discriminator="source"),
]


def registry() -> dict[str, ReviewEntry]:
    """Read reviews.yaml."""
    entry_type: TypeAdapter[ReviewEntry] = TypeAdapter(ReviewEntry)
    return yaml_files.read_registry(REGISTRY, entry_type)


def fetch_reviews(source: str, categories: list[str]) -> dict[str, list[Path]]:
    """Return the files of each category: packaged, downloaded, or your own.

    Args:
        source: a name of reviews.yaml, a file of reviews, or a folder of them.
        categories: names of that source's categories; empty means all.

    Raises:
        UserError: an unknown name, a missing package, or no network.
    """
    entries = registry()
    if source not in entries:
        own = paths.resolve(source)
        if own.is_dir():
            return _find_own(own, categories)
        if own.is_file():
            review_files = {own.name.split(".")[0]: [own]}
            _check_categories(str(own), categories, review_files)
            return review_files
        raise UserError(
            f"there are no reviews, no file and no folder called {source!r};"
            f" known: {', '.join(entries)}"
        )
    entry = entries[source]
    _check_categories(source, categories, entry.categories)
    chosen = categories or list(entry.categories)
    if isinstance(entry, PackagedTable):
        return {name: [entry.path()] for name in chosen}
    if isinstance(entry, PackagedReviews):
        folder = _export_snippets(source, entry)
        return {name: [folder / f"{name}.jsonl"] for name in chosen}
    folder = paths.cache_folder() / "reviews" / source
    review_files = {}
    for name in chosen:
        url = entry.url.format(category=name)
        target = folder / url.rpartition("/")[2]
        rows = entry.categories[name]
        review_files[name] = [downloads.download(url, target, rows)]
    return review_files


def _export_snippets(source: str, entry: PackagedReviews) -> Path:
    """Write the packaged rated sentences in the form of the 2014 data."""
    name = f"{source}-{entry.sha256[: files.SHORT]}"
    target = paths.cache_folder() / "reviews" / name
    return folders.cached_folder(
        target, lambda staging: _write(staging, entry)
    )


def _write(folder: Path, entry: PackagedReviews) -> None:
    """Write one file for each category of the packaged sentences."""
    original = paths.package_folder(entry.package, entry.distribution)
    original = original / entry.file
    files.check_sha256(
        original, entry.sha256, paths.reinstall(entry.distribution)
    )
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
    for product, records in lines.items():
        content = "\n".join(records) + "\n"
        (folder / f"{product}.jsonl").write_text(content)


def _find_own(folder: Path, categories: list[str]) -> dict[str, list[Path]]:
    """Take the files of a folder of the user's own.

    A category is a file, or a folder of files; its name is that before the
    first dot. Hidden files are passed over.

    Raises:
        UserError: a category has no file, or is unknown.
    """
    review_files: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if _is_hidden(path):
            continue
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        inside = [f for f in inside if f.is_file() and not _is_hidden(f)]
        if not inside:
            raise UserError(
                f"{path} has no file of reviews; add one, or remove the folder"
            )
        review_files.setdefault(path.name.split(".")[0], []).extend(inside)
    _check_categories(str(folder), categories, review_files)
    return {name: review_files[name] for name in categories or review_files}


def _is_hidden(path: Path) -> bool:
    """Say whether this is none of the user's, like .DS_Store or _SUCCESS.

    Spark and Hadoop leave an empty file that says that they have finished.
    """
    said = path.name.startswith("_") and path.is_file()
    return path.name.startswith(".") or (said and not path.stat().st_size)


def _check_categories(
    source: str, categories: list[str], known: Collection[str]
) -> None:
    """Raise a UserError if a category is unknown, or there is none at all."""
    if not known:
        raise UserError(f"{source} has no file of reviews; put one there")
    unknown = sorted(set(categories) - set(known))
    if unknown:
        raise UserError(
            f"{source} has no category {', '.join(unknown)}; it has"
            f" {', '.join(known)}"
        )
