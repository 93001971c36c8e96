"""Token ids as text: half characters as bytes, and what a prompt lost.

A tokenizer of bytes cuts most characters of the world's scripts into two to
four tokens, and `decode` shows each of them as the same `�`.
"""

import json
import re
import unicodedata
from collections import Counter

from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

from nlp_helpers.core.errors import UserError

REPLACEMENT = "\ufffd"  # what `decode` shows in place of half a character
BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")  # of sentencepiece
MAX_NAMED = 5  # lost characters
_BYTES = {character: byte for byte, character in bytes_to_unicode().items()}


def token_text(tokenizer: PreTrainedTokenizerBase, token_id: int) -> str:
    """Return the text of one token, such as ` Paris`, or `<0xE4><0xBD>`.

    An id that the tokenizer has no token for is shown as `<id 50000>`.
    """
    if tokenizer.convert_ids_to_tokens(token_id) is None:
        return f"<id {token_id}>"
    return ids_text(tokenizer, [token_id])


def ids_text(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """Decode T ids; bytes that make no character are shown as `<0xE4>`."""
    text = str(tokenizer.decode(ids))
    if REPLACEMENT not in text:
        return text
    tokens = [str(t) for t in tokenizer.convert_ids_to_tokens(ids) if t]
    if _is_byte_level(tokenizer):
        return _show_bytes(
            b"".join(
                bytes([_BYTES[c]]) if c in _BYTES else c.encode()
                for c in "".join(tokens)
            )
        )
    if all(BYTE_TOKEN.fullmatch(token) for token in tokens):
        joined = "".join(tokens)
        return _show_bytes(bytes.fromhex("".join(BYTE_TOKEN.findall(joined))))
    return text


def _is_byte_level(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Say whether each character of a token stands for one byte."""
    if not tokenizer.is_fast:
        return False
    decoder = tokenizer.backend_tokenizer.decoder
    rules = json.loads(decoder.__getstate__()) if decoder else {}
    parts = rules.get("decoders", [rules])
    return any(part.get("type") == "ByteLevel" for part in parts)


def _show_bytes(content: bytes) -> str:
    """Decode UTF-8; bytes that are no part of a character become `<0xE4>`."""
    text = content.decode("utf-8", errors="surrogateescape")
    return re.sub(
        "[\udc80-\udcff]", lambda m: f"<0x{ord(m[0]) - 0xDC00:02X}>", text
    )


def check_prompt(prompt: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Compare what the model will read with what was typed.

    Prints one line if they differ: a tokenizer may lack characters, write
    capitals small, or drop spaces.

    Raises:
        UserError: nothing is left of the prompt.
    """
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    if not ids:
        raise UserError(
            f"the tokenizer has no token for anything in the prompt"
            f" {prompt[:60]!r}; write it with other characters"
        )
    read = ids_text(tokenizer, ids)
    if read == prompt:
        return
    # WordPiece decodes "don't" as "don ' t", which has the same ids; other
    # tokenizers drop a space in front, or between Chinese characters.
    if _without_spaces(read) == _without_spaces(prompt):
        problem = "other spaces than"
    else:
        problem = "another text than"
    line = f"the model reads {problem} the prompt: {read!r}"
    if lost := _lost_characters(prompt, read):
        line += f"; lost: {lost}"
    print(line)


def _without_spaces(text: str) -> str:
    """Return a text without its white space."""
    return "".join(text.split())


def _lost_characters(prompt: str, read: str) -> str:
    """Name the characters that are in the prompt more often than in `read`."""
    missing = Counter(_without_spaces(prompt)) - Counter(_without_spaces(read))
    names = [
        f"{character!r} (U+{ord(character):04X}"
        f" {unicodedata.name(character, 'without a name')})"
        for character in missing
    ]
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" * (more > 0))
