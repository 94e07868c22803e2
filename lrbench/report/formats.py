"""A table of results, to be read in a terminal, a notebook, Markdown or LaTeX, and its numbers as CSV and JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from itertools import groupby
from pathlib import Path
from typing import TextIO

import pandas as pd

from lrbench.errors import unknown
from lrbench.report.tex import tex
from lrbench.report.ways import DASH
from lrbench.store.files import replaces

HR_MARK = "†"  # of what is trained and tested on HR images
SHORT_HR = f"{HR_MARK} trained and tested on HR images"
ABOUT_HR = f"{SHORT_HR}: an upper reference, not a competitor."
WRAPPED = 30  # characters: on a terminal, columns of longer texts are wrapped, others are not
READING = "How to read this"
BOLD, ITALIC = "**", "*"  # Markdown's, around what stands at the start of a cell
NUMBER = re.compile(r"\**[-+−]?\d")
SUFFIXES = {"md": "md", "csv": "csv", "latex": "tex", "json": "json"}  # of a table's file, by format


class Aside(str):
    """A note that stands in no paper, such as one on folders."""


@dataclass(frozen=True, repr=False)
class Table:
    """One table.

    shown: what is read, as text, with **bold** and *italics* as in Markdown; its first column names the rows. notes: on
    these rows; legend: how to read a table of this kind, said once below several. runs: the ids behind each cell, a
    frame of the same shape with a tuple in each cell, or None. long: makes `numbers`, which takes longer than all else.
    protocol: of the runs, where they are of one. caption: the signs in the cells, in one sentence, for LaTeX, where the
    legend stands in comments.
    """

    title: str
    conditions: str
    shown: pd.DataFrame
    notes: Sequence[str] = ()
    long: Callable[[], pd.DataFrame] = pd.DataFrame
    runs: pd.DataFrame | None = None
    legend: Sequence[str] = ()
    protocol: int | None = None
    caption: str = ""

    @classmethod
    def of(
        cls,
        title: str,
        conditions: str,
        columns: Sequence[tuple[str, Sequence[str], Sequence[str] | None]],
        notes: Iterable[str] = (),
        long: Callable[[], pd.DataFrame] = pd.DataFrame,
        legend: Iterable[str] = (),
        protocol: int | None = None,
        caption: str = "",
    ) -> Table:
        """From columns: a name, the text of each row, and the ids of the runs behind each; None if there are none."""
        names = [name for name, *_ in columns]
        shown = pd.DataFrame(list(zip(*(texts for _, texts, _ in columns), strict=True)), columns=names)
        behind = [[tuple(one.split()) for one in ids] if ids else [()] * len(shown) for _, _, ids in columns]
        runs = pd.DataFrame(list(zip(*behind, strict=True)), columns=names)
        return cls(title, conditions, shown, list(notes), long, runs, list(legend), protocol, caption)

    @cached_property
    def numbers(self) -> pd.DataFrame:
        """The long form: a row per number or group of numbers; percentages and percentage points."""
        return self.long()

    def __str__(self) -> str:
        return markdown([self])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return _html([self])


class Tables(list[Table]):
    """Several tables, as a notebook shows them; `older`: others, of which only the numbers are given."""

    def __init__(self, tables: Iterable[Table] = (), older: Sequence[Table] = ()) -> None:
        super().__init__(tables)
        self.older = older

    @property
    def newest(self) -> Tables:
        """Those of the newest protocol that there is; how many are left out says the last line of how to read them."""
        protocol = max((table.protocol or 0 for table in self), default=0)
        kept = [table for table in self if table.protocol in (None, protocol)]
        older = [table for table in self if table.protocol not in (None, protocol)]
        if older:
            said = f"Tables of older protocols, left out here: {len(older)}; `--long` shows them."
            kept[-1] = replace(kept[-1], legend=[*kept[-1].legend, said])
        return Tables(kept, older)

    @property
    def numbers(self) -> pd.DataFrame:
        """Their long forms, one below the other."""
        filled = [table.numbers for table in [*self, *self.older] if len(table.numbers)]
        return pd.concat(filled, ignore_index=True).convert_dtypes() if filled else pd.DataFrame(columns=["table"])

    def __str__(self) -> str:
        return markdown(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return _html(self)


def render(tables: Sequence[Table], style: str) -> str:
    """The tables in one of FORMATS, ending in a line break. Raises UserError for another style."""
    style_of(style, None)  # which checks it
    return FORMATS[style](tables)


def style_of(style: str | None, out: Path | None) -> str | None:
    """`style`, or the one that the name of the file `out` asks for, of a pipe's as in a pipe. Raises UserError that
    names the nearest.
    """
    if style is None and out is not None:
        styles = {f".{suffix}": style for style, suffix in SUFFIXES.items()}
        suffix = out.suffix.lower()
        if suffix not in styles and replaces(out):
            raise unknown("file format", out.suffix, styles)
        return styles.get(suffix, "md")
    if style is not None and style not in FORMATS:
        raise unknown("format", style, FORMATS)
    return style


def legend(tables: Sequence[Table]) -> list[str]:
    """How to read some tables, each sentence once."""
    return list(dict.fromkeys(line for table in tables for line in table.legend))


def emphasized(text: str, bold: str, italic: str, plain: Callable[[str], str] = str) -> str:
    """The text of a cell with its Markdown emphasis as `bold` or `italic` have it, such as "<b>%s</b>".

    plain: makes its words such as may stand there.
    """
    start, end = (BOLD, bold) if text.startswith(BOLD) else (ITALIC, italic)
    inside, found, rest = text.removeprefix(start).partition(start)
    if not (text.startswith(start) and inside and found):
        return plain(text)
    return end % plain(inside) + (f" {plain(rest)}" if rest.strip() else "")


def markdown(tables: Sequence[Table]) -> str:
    """A section for each table, with its conditions above and its notes below, and at the end how to read them."""
    sections = [
        f"## {table.title}\n\nProtocol: {table.conditions}.\n\n"
        + (f"{grid(table.shown)}\n" if len(table.shown) else "")
        + "".join(f"- {note}\n" for note in table.notes)
        for table in tables
    ]
    if said := legend(tables):
        sections.append(f"## {READING}\n\n" + "".join(f"- {line}\n" for line in said))
    return "\n".join(sections)


def _html(tables: Sequence[Table]) -> str:
    """For a notebook."""

    def items(lines: Iterable[str]) -> str:
        return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"

    def cell(value: object) -> str:
        return emphasized(str(value), "<b>%s</b>", "<i>%s</i>", escape)

    return "".join(
        f"<h3>{escape(table.title)}</h3><p>{escape(table.conditions)}</p>"
        + table.shown.map(cell).rename(columns=escape).to_html(index=False, border=0, na_rep="", escape=False)
        + items(table.notes)
        for table in tables
    ) + items(legend(tables))


def as_csv(tables: Sequence[Table]) -> str:
    """The long forms."""
    return str(_numbers(tables).to_csv(index=False, lineterminator="\n"))


def as_json(tables: Sequence[Table]) -> str:
    """The long forms as a list of objects."""
    flat = _numbers(tables).astype(object)  # pandas' own writer rounds to ten digits, or shows 79.859999999999999
    return json.dumps(flat.where(flat.notna(), None).to_dict("records"), indent=1) + "\n"


def _numbers(tables: Sequence[Table]) -> pd.DataFrame:
    return (tables if isinstance(tables, Tables) else Tables(tables)).numbers


def latex(tables: Sequence[Table]) -> str:
    """A booktabs table each, with its signs and notes in its caption; how to read them stands in comments."""
    said = "".join(f"% {line}\n" for line in legend(tables))
    return "\n".join(_latex(table) for table in tables) + said


FORMATS: dict[str, Callable[[Sequence[Table]], str]] = {"md": markdown, "csv": as_csv, "latex": latex, "json": as_json}


def _latex(table: Table) -> str:
    """In small type, so that a published table fits a column of a paper."""

    def cell(value: object) -> str:
        text = emphasized(str(value), r"\textbf{%s}", r"\textit{%s}", lambda text: tex("--" if text == DASH else text))
        text = re.sub(r"±[\d.]+", r"{\\tiny\\mdseries\g<0>}", text)  # of published tables only, which must be narrow
        return re.sub(r" \{?([*‡])\}?$", r"\\rlap{\1}", text)

    names = [str(name) for name in table.shown.columns]
    title = re.sub(r"^Table \S+: ", "", table.title)  # LaTeX counts tables itself
    about = [f"{one[:1].upper()}{one[1:]}." for one in (title, f"Protocol: {table.conditions}", table.caption) if one]
    caption = " ".join([*about, *(note for note in table.notes if not isinstance(note, Aside))])
    lines = [
        r"\begin{table}",
        r"\centering\scriptsize\setlength{\tabcolsep}{2pt}",
        rf"\caption{{{tex(caption)}}}",
        rf"\begin{{tabular}}{{@{{}}{''.join('lr'[right] for right in numeric(table.shown))}@{{}}}}",
        r"\toprule",
        *_heads(names),
        r"\midrule",
        *(" & ".join(map(cell, line)) + r" \\" for line in table.shown.to_numpy()),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _heads(names: Sequence[str]) -> list[str]:
    """The heads in a line of LaTeX; in two where neighbours begin alike, such as "cifar10 8x8" and "cifar10 16x16"."""
    groups = []
    for group, same in groupby(names, lambda name: name.partition(" ")[0]):
        rests = [name.partition(" ")[2] for name in same]
        groups += [(group, len(rests))] if all(rests) else [(group, 1)] * len(rests)
    if all(count == 1 for _, count in groups):
        return [" & ".join(tex(name) or "Method" for name in names) + r" \\"]
    above, below, rules, place = [], [], "", 0
    for group, count in groups:
        several = count > 1
        above.append(rf"\multicolumn{{{count}}}{{c}}{{{tex(group)}}}" if several else "")
        heads = names[place : place + count]
        below += [tex(name.partition(" ")[2] if several else name) or "Method" for name in heads]
        rules += rf"\cmidrule(lr){{{place + 1}-{place + count}}}" if several else ""
        place += count
    return [" & ".join(above) + r" \\", rules, " & ".join(below) + r" \\"]


def grid(shown: pd.DataFrame) -> str:
    """A Markdown table, padded so that it also reads well as plain text; pandas' own needs another package."""
    lines = [[str(value).replace("|", r"\|") for value in line] for line in (shown.columns, *shown.to_numpy())]
    widths, right = [max(map(len, column)) for column in zip(*lines, strict=True)], numeric(shown)

    def row(values: Sequence[str]) -> str:
        each = zip(values, widths, right, strict=True)
        return "| " + " | ".join(text.rjust(width) if of else text.ljust(width) for text, width, of in each) + " |\n"

    rule = ["-" * (width - 1) + (":" if of else "-") for width, of in zip(widths, right, strict=True)]
    return row(lines[0]) + row(rule) + "".join(map(row, lines[1:]))


def numeric(shown: pd.DataFrame) -> list[bool]:
    """Of each column of a table, whether it holds numbers, for most of what is not a dash; the first holds names."""
    found = [[str(text) for text in column if text not in ("", DASH)] for column in shown.to_numpy().T[1:]]
    number = [[len(text) <= WRAPPED and bool(NUMBER.match(text)) for text in column] for column in found]
    return [False, *(2 * sum(column) >= len(column) for column in number)]


def print_tables(tables: Sequence[Table], file: TextIO | None = None) -> None:
    """On a terminal tables that fit its width; in a pipe Markdown. file: stdout where None."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=file)
    if not console.is_terminal:
        print(markdown(tables), end="", file=file)
        return
    for table in tables:
        console.print(Text(table.title, style="bold"), Text(table.conditions, style="dim"), sep="\n")
        print_grid(table.shown, file)
        for note in table.notes:
            console.print(Text(f"- {note}", style="dim"))
    if said := legend(tables):
        console.print(Text(READING, style="bold"))
    for line in said:
        console.print(Text(f"- {line}", style="dim"))


def print_grid(shown: pd.DataFrame, file: TextIO | None = None) -> None:
    """A table's lines without a title: on a terminal as wide as it is, in a pipe as Markdown. file: as above."""
    from rich import box, markup
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console(file=file)
    if not console.is_terminal:
        print(grid(shown) if len(shown) else "", end="", file=file)
        return
    right = dict(zip(shown.columns, numeric(shown), strict=True)) if len(shown.columns) else {}
    for block in _blocks(shown, console.width) if right else ():
        drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
        for name, texts in block.items():
            first, longest = not drawn.columns, max(map(len, [str(name), *texts]))
            drawn.add_column(
                Text(str(name)),
                justify="right" if right[name] else "left",
                overflow="fold",
                no_wrap=not first and longest <= WRAPPED,
            )
        for line in block.to_numpy():
            texts = (emphasized(str(text), "[b]%s[/]", "[dim]%s[/]", markup.escape) for text in line)
            drawn.add_row(*map(Text.from_markup, texts))
        console.print(drawn)


def _blocks(shown: pd.DataFrame, width: int) -> Iterator[pd.DataFrame]:
    """A table's columns in blocks that fit a width in characters, each with the first, which names the rows."""
    longest = [max(map(len, [str(name), *texts])) for name, texts in shown.items()]
    room = [min(one, WRAPPED) + 2 for one in longest]
    block = [0]
    for place in range(1, len(room)):
        if len(block) > 1 and sum(room[one] for one in [*block, place]) > width:
            yield shown.iloc[:, block]
            block = [0]
        block.append(place)
    yield shown.iloc[:, block]
