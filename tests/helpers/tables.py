"""Published tables filled with records, and what is read off them."""

import csv
import io
import json
import re

from lrbench.report import filled, formats, published
from lrbench.report.frame import frame
from lrbench.report.table import table as as_read
from lrbench.report.ways import score


def fill(source, records, right=None, failures=()):
    """A published table, or that of a name, filled with records: once for each set of conditions."""
    source = published.table(source) if isinstance(source, str) else source
    return filled.fill(source, frame(records, failures), right)


def table(records, name="1"):
    """The only table that comes of the records."""
    [one] = fill(name, records)
    return one


def render(tables, style="md"):
    """Filled tables as text."""
    return formats.render([as_read(one) for one in tables], style)


def read(text, style):
    """The lines of a long form that was written as CSV or JSON."""
    return json.loads(text) if style == "json" else list(csv.DictReader(io.StringIO(text)))


def numbers(filled):
    """The lines of a table's long form of which there are runs, by row."""
    return {line["row"]: line for line in read(render([filled], "json"), "json") if line["n"] or line["diverged"]}


def notes(filled):
    """All that stands below a table."""
    return " ".join(as_read(filled).notes)


def row(filled, label):
    """The row of that label."""
    [found] = [row for row in filled.rows if row.label == label]
    return found


def cell(filled, label, column="cifar10 8x8"):
    """The cell of a row in a column."""
    return row(filled, label).cells[filled.columns.index(column)]


def top1(filled):
    """The top-1 of every run that is shown, row by row."""
    return [value for row in filled.rows for value in row.runs["top1"]]


def lines(filled, style="md"):
    """The grid of a Markdown table: a list of cells for each line, the rule left out."""
    text = [line for line in render([filled], style).splitlines() if line.startswith("|")]
    split = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in text]
    return split[:1] + split[2:]


def shown(filled, label, column="cifar10 8x8"):
    """What a table says of a row's runs in a column."""
    return score(cell(filled, label, column).ours)
