"""Published tables filled with records, and what is read off them."""

import csv
import io
import json
import re

import numpy as np

from helpers.records import LR, record
from lrbench.report import filled, formats, published
from lrbench.report.frame import frame
from lrbench.report.table import table as as_read
from lrbench.report.ways import score


def fill(source, records, right=None, failures=()):
    """A published table, or that of a name, filled with records: once for each set of conditions."""
    return filled_from(source, frame(records, failures), right)


def filled_from(source, results, right=None):
    """The same, from a frame."""
    source = published.table(source) if isinstance(source, str) else source
    return filled.fill(source, results, right)


def table(records, name="1"):
    """The only table that comes of the records."""
    [one] = fill(name, records)
    return one


def render(tables, style="md", long=True):
    """Filled tables as text."""
    return formats.render([as_read(one, long) for one in tables], style)


def read(text, style):
    """The lines of a long form that was written as CSV or JSON."""
    return json.loads(text) if style == "json" else list(csv.DictReader(io.StringIO(text)))


def numbers(filled):
    """The lines of a table's long form of which there are runs, by row."""
    return {line["row"]: line for line in read(render([filled], "json"), "json") if line["n"] or line["diverged"]}


def notes(filled):
    """All that stands below a table."""
    found = as_read(filled, long=True)
    return " ".join([*found.notes, *found.legend])


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


def lines(filled, style="md", long=True):
    """The grid of a Markdown table: a list of cells for each line, the rule left out."""
    text = [line for line in render([filled], style, long).splitlines() if line.startswith("|")]
    split = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in text]
    return split[:1] + split[2:]


def shown(filled, label, column="cifar10 8x8"):
    """What a table says of a row's runs in a column."""
    return score(cell(filled, label, column).ours)


def paper_rows(seeds=3):
    """Records of every row and column of Table 1, `seeds` each; DFD is better by 2 points but for VGG-16, by -0.01."""
    gains = {"alexnet": 2.0, "vgg16": -0.01, "resnet18": 2.0}
    return [
        record(method, 60 + seed + gains[backbone] * (method == "dfd"), seed, dataset=dataset, scale=scale,
               backbone=backbone, spec={"width": 1.0 if backbone == "alexnet" else 0.25})
        for backbone in gains for method in (LR, "dfd") for dataset in ("cifar10", "svhn") for scale in (4, 2)
        for seed in range(seeds)
    ]  # fmt: skip


def hits(records):
    """Which images each run has right: as many as its score says, the rest of them the same in all runs."""
    scores = {one.id: one.metrics["top1"] for one in records}
    return lambda run: np.arange(10_000) < round(scores[run] * 100)
