"""Text that the packaged SmolLM2 writes: reviews and everyday paragraphs.

No package carries free product reviews in quantity, and short plain sentences
about people, places and things are rare in dictionaries and handbooks. A
small language model writes both by the batch. What it writes is not always
true or sensible, but its words stand in the places that words stand in.
"""

from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import (
    AutoModelForCausalLM,
    PreTrainedTokenizerBase,
)

from nlp_helpers.core import files
from nlp_helpers.core.errors import UserError
from nlp_helpers.models import loading

GENERATOR = "smollm2-135m"
BATCH_SIZE = 64
MAX_NEW_TOKENS = 160
MIN_TEXT_LENGTH = 80  # characters; less is a refusal or a false start

REVIEW_PROMPT = (
    "Write a customer review of {thing}, {stars} out of five stars, in the"
    " first person. Say something about {aspect}. Do not use a heading."
)
PARAGRAPH_PROMPT = (
    "Write a few short, simple sentences about {thing}. Do not use a heading."
)
PRODUCTS = (
    """
a phone case|a phone charger|a bluetooth headset|a pair of headphones
a car charger|a screen protector|a digital camera|a laptop|a tablet|a router
a memory card|a battery|a usb cable|a phone holder for the car|a smartphone
a flip phone|a keyboard|a mouse|a printer|a television|a dvd player|a speaker
an mp3 player|a camera bag|a tripod|a hard drive|a monitor|a watch|a shirt
a pair of shoes|a jacket|a backpack|a vacuum cleaner|a coffee maker|a lamp
a windshield wiper|car wax|a tire gauge|a novel|a film on dvd|a board game
""".replace("\n", "|")
    .strip("|")
    .split("|")
)
# Two of the aspects are one, cut by the end of a line. They stay: the texts
# that the shipped head learnt, and the held-out ones, were asked for so.
ASPECTS = (
    """
the price|the quality|the battery life|the fit|the sound|the colour|the screen
how long it lasted|the delivery|how easy it was to set up|the buttons
customer service|the material|the instructions|the picture|what your family
thought of it|how it compares with your old one|whether you would buy it again
""".replace("\n", "|")
    .strip("|")
    .split("|")
)
TOPICS = (
    """
France and its capital|Germany and its capital|Italy and its capital
Japan and its capital|Spain and its capital|England and London|a river
a doctor|a teacher|a farmer|a lawyer|a soldier|a musician|a student|a baker
a dog|a cat|a horse|a bird|a tree|a garden|a house|a school|a train|a ship
the weather|the winter|breakfast|dinner with friends|a birthday|a wedding
a football match|a song|a painting|a book|a letter|money|a shop|a hospital
my brother|my mother|an old friend|a neighbour|a holiday|a long walk|a joke
""".replace("\n", "|")
    .strip("|")
    .split("|")
)


def make_prompts(count: int) -> list[str]:
    """Write `count` prompts, three reviews to one paragraph, all in turn."""
    prompts = []
    for index in range(count):
        turn, remainder = divmod(index, 4)
        if remainder == 3:
            thing = TOPICS[turn % len(TOPICS)]
            prompts.append(PARAGRAPH_PROMPT.format(thing=thing))
            continue
        number = 3 * turn + remainder
        prompts.append(
            REVIEW_PROMPT.format(
                thing=PRODUCTS[number % len(PRODUCTS)],
                stars=1 + (number // len(PRODUCTS)) % 5,
                aspect=ASPECTS[number % len(ASPECTS)],
            )
        )
    return prompts


def generate(folder: Path, num_batches: int, seed: int) -> None:
    """Write `num_batches` files of texts into `folder`; finished ones stay."""
    tokenizer, model = loading.load_model(GENERATOR, AutoModelForCausalLM)
    tokenizer.padding_side = "left"
    prompts = make_prompts(num_batches * BATCH_SIZE)
    folder.mkdir(parents=True, exist_ok=True)
    for number in tqdm(range(num_batches), desc="batches of texts"):
        path = folder / f"{number:04d}.json"
        if path.exists():
            continue
        batch = prompts[number * BATCH_SIZE : (number + 1) * BATCH_SIZE]
        torch.manual_seed(seed + number)
        files.write_json(path, _generate_batch(tokenizer, model, batch))


@torch.inference_mode()
def _generate_batch(
    tokenizer: PreTrainedTokenizerBase,
    model: Any,  # mypy misreads the `generate` of transformers
    prompts: list[str],
) -> list[str]:
    """Answer the prompts, one sampled text each."""
    chats = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            tokenize=False,
            add_generation_prompt=True,
        )
        for prompt in prompts
    ]
    inputs = tokenizer(chats, return_tensors="pt", padding=True)
    output = model.generate(
        **inputs,
        do_sample=True,
        temperature=0.8,
        top_p=0.95,
        max_new_tokens=MAX_NEW_TOKENS,
        pad_token_id=tokenizer.pad_token_id,
    )
    continuations = output[:, inputs["input_ids"].shape[1] :]
    return tokenizer.batch_decode(continuations, skip_special_tokens=True)


def read_generated(folder: Path) -> list[str]:
    """Read the texts: whole sentences, plain letters, each text once.

    Raises:
        UserError: the folder holds no texts.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise UserError(
            f"{folder} holds no generated texts; write them with"
            " python -m tools.mlm_head generate"
        )
    texts: dict[str, None] = {}
    for path in paths:
        for text in files.read_json(path):
            whole = text[: max(text.rfind(mark) for mark in ".!?") + 1]
            plain = whole.replace("’", "'").replace("“", '"')
            plain = " ".join(plain.replace("”", '"').split())
            if plain.isascii() and len(plain) >= MIN_TEXT_LENGTH:
                texts[plain] = None
    return list(texts)
