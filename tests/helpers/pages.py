"""Notebooks exported as HTML, and the pictures of the pages."""

import subprocess
import sys
from html.parser import HTMLParser


class _Images(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.found.append(dict(attrs))


def export_images(notebooks, folder):
    """Return notebook's name -> the attributes of every picture."""
    command = [sys.executable, "-m", "nbconvert", "--to", "html"]
    command += ["--output-dir", str(folder), *map(str, notebooks)]
    subprocess.run(command, check=True, capture_output=True)
    found = {}
    for notebook in notebooks:
        images = _Images()
        page = folder / f"{notebook.stem}.html"
        images.feed(page.read_text(encoding="utf-8"))
        found[notebook.stem] = images.found
    return found
