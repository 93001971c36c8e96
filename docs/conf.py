"""How Sphinx builds the site; `make site` stages the pages and calls it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import nlp_helpers
from tools import badges
from tools.website import reference

# Before Sphinx starts its processes, which then share what was imported.
reference.import_modules()

project = "Pretrained transformers in notebooks"
author = "the contributors"
copyright = author
release = version = nlp_helpers.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "tools.website.glossary",
    "tools.website.links",
]

# Text as it was written: the notebooks are executed already.
nb_execution_mode = "off"
nb_merge_streams = True
myst_heading_anchors = 4
smartquotes_action = "D"  # dashes alone
exclude_patterns = ["course/student", "notebooks/source"]  # to download

# Docstrings: Google's sections, and code between single backticks.
default_role = "code"
autodoc_default_options = {
    "member-order": "bysource",
    "exclude-members": "set",  # matplotlib writes it for every figure
}
autodoc_typehints_format = "short"
maximum_signature_line_length = 60
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
add_module_names = False

# The theme. Nothing of it comes from elsewhere.
html_theme = "sphinx_book_theme"
html_title = project
html_last_updated_fmt = ""
html_show_sphinx = False
html_use_index = False  # the search finds more, on any screen
html_static_path = ["static"]
html_css_files = ["site.css"]
html_favicon = "static/favicon.svg"
html_context = {"default_mode": "auto"}  # light or dark, as the reader has it
html_theme_options = {
    "navbar_persistent": [],  # the search is at the top of the menu
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": True,
    "use_fullscreen_button": False,
}
if address := badges.read_address():
    html_theme_options |= {
        "repository_url": f"https://github.com/{address}",
        "use_repository_button": True,
    }
