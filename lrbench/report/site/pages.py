"""The pages of a report: templates filled in, all that is not markup escaped, written below one folder."""

from __future__ import annotations

import importlib.util
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from lrbench.report.formats import ITALIC, emphasized, numeric
from lrbench.report.ways import DASH
from lrbench.store.files import utf8

TEMPLATES = "templates"
ASSETS = ("report.css", "report.js", "icon.svg")
# DataTables as itables bundles it, a module, which a page from the disk may load as a blob only
MODULE = "window.datatables = import(URL.createObjectURL(new Blob([{}], {{type: 'text/javascript'}})));\n"
KEY = re.compile(r"[-+−]?\d+(?:[.,]\d+)*")


class Pages:
    """Writes pages below `folder`. `shared` is what every page knows, such as the links to the others."""

    def __init__(self, folder: Path, **shared: Any) -> None:
        self.folder = folder
        self.environment = jinja2.Environment(
            loader=jinja2.PackageLoader(__package__, TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        filters = (number, slug, numeric, marked_up, key, sortable)
        self.environment.filters |= {one.__name__: one for one in filters}
        self.environment.globals |= shared
        for name in ASSETS:
            (folder / name).write_bytes((files(__package__) / TEMPLATES / name).read_bytes())
        package = importlib.util.find_spec("itables")  # not imported: it wants a home folder for its settings
        bundle = Path(str(package and package.origin)).parent / "html" / "dt_bundle.js"
        self.save("datatables.js", MODULE.format(json.dumps(bundle.read_text(encoding="utf-8"))))
        self.save("datatables.css", bundle.with_suffix(".css").read_bytes())

    def write(self, template: str, path: str, **content: Any) -> None:
        """Fill a template and write it to a path below the folder. Raises OSError."""
        top = "../" * path.count("/")
        page = self.environment.get_template(template).render(here=path, top=top, **content)
        self.save(path, page)

    def save(self, path: str, content: str | bytes) -> None:
        """Write a file below the folder. Raises OSError."""
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(utf8(content))


def number(value: Any) -> str:
    """A number to be read: thousands apart, four significant digits of a fraction; other values as they are."""
    if value is None:
        return DASH
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}" if abs(value) < 100 else f"{value:,.1f}"


def key(text: str) -> str:
    """What a cell of numbers is sorted by: its first number; nothing where it has none."""
    found = KEY.search(text)
    return found[0].replace(",", "").replace("−", "-") if found else ""


def sortable(shown: pd.DataFrame) -> bool:
    """Whether the lines of a table stand alone: not where what was published stands in a line below another."""
    return not shown.iloc[:, 0].astype(str).str.startswith(ITALIC).any()


def marked_up(text: str) -> Markup:
    """The text of a table's cell, with its emphasis."""
    return Markup(emphasized(text, "<b>%s</b>", "<i>%s</i>", lambda words: str(escape(words))))


def slug(name: str) -> str:
    """A name as it may stand in a file's name or a link."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.") or "unnamed"
