"""The buttons that open a notebook elsewhere; a part of Sphinx."""

from typing import Any

from sphinx.application import Sphinx

from tools import badges


def add_buttons(
    app: Sphinx,
    pagename: str,
    templatename: str,
    context: dict[str, Any],
    doctree: Any,
) -> None:
    """Add a button with what `make badges` knows of a notebook's page."""
    folder, _, name = pagename.rpartition("/")
    if folder != "notebooks" or "header_buttons" not in context:
        return
    buttons = [
        {
            "type": "link",
            "text": site,
            "tooltip": f"Open this notebook in {site}",
            "icon": "fas fa-rocket",
            "url": url,
        }
        for site, url in badges.links(name).items()
    ]
    if buttons:
        context["header_buttons"].append(
            {
                "type": "group",
                "tooltip": "Open this notebook elsewhere",
                "icon": "fas fa-rocket",
                "buttons": buttons,
                "label": "launch-buttons",
            }
        )


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx of the buttons."""
    app.connect("html-page-context", add_buttons, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
