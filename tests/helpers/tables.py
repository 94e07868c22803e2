"""Published tables filled with records, and what is read off them."""

import re

from lrbench.report import published
from lrbench.report.formats import render as render_sheets
from lrbench.report.render import sheet
from lrbench.report.table import fill


def table(records, name="1"):
    """The only table that comes of the records."""
    [filled] = fill(published.table(name), records)
    return filled


def render(tables, style):
    """Filled tables as text."""
    return render_sheets([sheet(filled) for filled in tables], style)


def row(filled, label):
    [found] = [row for row in filled.rows if row.label == label]
    return found


def entry(filled, label, column="cifar10 8x8"):
    return row(filled, label).entries[filled.labels.index(column)]


def lines(filled, style="md"):
    """The grid of a Markdown table: a list of cells for each line, the rule left out."""
    text = [line for line in render([filled], style).splitlines() if line.startswith("|")]
    split = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in text]
    return split[:1] + split[2:]
