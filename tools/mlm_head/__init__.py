"""How the shipped masked-language-model head is made, from text to weights."""
