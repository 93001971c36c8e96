"""The glossary, and links to it from the first use of each term on a page.

docs/glossary.md is an ordinary list, `- **term** (also *form*, *form*): text`,
which any viewer of Markdown shows. Here it becomes Sphinx's glossary, and on
every page the first words that are a term lead to it. Notebooks and guides
need no marks for that.
"""

import re
from functools import cache
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains.std import make_glossary_term
from sphinx.transforms import SphinxTransform

from tools.website.staging import ROOT

PATH = ROOT / "docs" / "glossary.md"
PAGE = "docs/glossary"
ENTRY = re.compile(
    r"^- \*\*(?P<term>.+?)\*\*(?: \(also (?P<forms>.+?)\))?: (?P<text>.+)$",
    re.MULTILINE,
)
# The library has the name of their plural, and is mostly what it means.
SINGULAR = ("transformer",)
NOT_LINKED = ("api/", "project/changelog", PAGE)
# Text in these is no prose, or is a link already.
SKIPPED = (
    nodes.title,
    nodes.reference,
    nodes.literal,
    nodes.literal_block,
    nodes.raw,
    addnodes.pending_xref,
    addnodes.download_reference,
)


@cache
def read_forms() -> dict[str, str]:
    """Return each written form, in small letters -> its term."""
    forms = {}
    for entry in ENTRY.finditer(PATH.read_text(encoding="utf-8")):
        term = entry["term"]
        also = re.findall(r"\*(.+?)\*", entry["forms"] or "")
        several = () if term in SINGULAR else (plural(term),)
        for form in (term, *several, *also):
            forms[form.lower()] = term
    return forms


def plural(term: str) -> str:
    """Return the plural of a regular noun."""
    if re.search(r"[^aeiou]y$", term):
        return term[:-1] + "ies"
    return term + ("es" if re.search(r"(s|x|ch|sh)$", term) else "s")


@cache
def pattern() -> re.Pattern[str]:
    """Return what finds the forms, the longest first."""
    longest_first = sorted(read_forms(), key=len, reverse=True)
    forms = "|".join(map(re.escape, longest_first))
    return re.compile(rf"(?<![\w-])(?:{forms})(?![\w-])", re.IGNORECASE)


def is_prose(text: nodes.Text) -> bool:
    """Say whether a text stands in a paragraph, free of links and code."""
    if isinstance(text.parent, nodes.emphasis) and len(text.split()) > 3:
        return False  # the title of a work
    in_paragraph = False
    node = text.parent
    while node is not None:
        if isinstance(node, SKIPPED):
            return False
        in_paragraph |= isinstance(node, nodes.paragraph)
        node = node.parent
    return in_paragraph


class LinkFirstUses(SphinxTransform):
    """Let the first use of each term on a page lead to the glossary."""

    default_priority = 850  # after all that makes text and links

    def apply(self, **kwargs: Any) -> None:
        """Replace the words in the document."""
        page = self.env.docname
        if page.startswith(NOT_LINKED):
            return
        self.env.note_dependency(str(PATH))
        seen: set[str] = set()
        for text in list(self.document.findall(nodes.Text)):
            if is_prose(text):
                parts = self.link(text.astext(), seen)
                if len(parts) > 1 or not isinstance(parts[0], nodes.Text):
                    text.parent.replace(text, parts)

    def link(self, text: str, seen: set[str]) -> list[nodes.Node]:
        """Return a text in parts: those without a link, and the links."""
        parts: list[nodes.Node] = []
        end = 0
        for match in pattern().finditer(text):
            term = read_forms()[match[0].lower()]
            if term in seen:
                continue
            seen.add(term)
            if match.start() > end:
                parts.append(nodes.Text(text[end : match.start()]))
            parts.append(self.reference(match[0], term))
            end = match.end()
        if end < len(text) or not parts:
            parts.append(nodes.Text(text[end:]))
        return parts

    def reference(self, words: str, term: str) -> nodes.Node:
        """Return a link to a term, as the role `term` makes it."""
        shown = nodes.inline(words, words, classes=["xref", "std", "std-term"])
        return addnodes.pending_xref(
            "",
            shown,
            refdomain="std",
            reftype="term",
            reftarget=term,
            refexplicit=True,
            refwarn=True,
            refdoc=self.env.docname,
        )


class MakeGlossary(SphinxTransform):
    """Turn the list of docs/glossary.md into Sphinx's glossary."""

    default_priority = 840

    def apply(self, **kwargs: Any) -> None:
        """Replace the list."""
        if self.env.docname != PAGE:
            return
        for bullets in list(self.document.findall(nodes.bullet_list)):
            terms = nodes.definition_list(classes=["glossary"])
            for item in bullets.findall(nodes.list_item):
                terms.append(self.definition(item))
            bullets.replace_self(addnodes.glossary("", terms))

    def definition(self, item: nodes.list_item) -> nodes.definition_list_item:
        """Return an entry: the term, which can be linked to, and its text."""
        [paragraph] = item.children
        strong, *rest = (part for part in paragraph.children if part.astext())
        while not (found := re.match(r"\)?: ", rest[0].astext())):
            rest = rest[1:]  # the other forms, which need not be read
        rest[0] = nodes.Text(rest[0].astext()[found.end() :])
        term = make_glossary_term(
            self.env,
            [nodes.Text(strong.astext())],
            None,
            str(PATH),
            item.line or 0,
            None,
            self.document,
        )
        text = nodes.definition("", nodes.paragraph("", "", *rest))
        return nodes.definition_list_item("", term, text)


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx of both."""
    app.add_transform(MakeGlossary)
    app.add_transform(LinkFirstUses)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
