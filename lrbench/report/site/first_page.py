"""What the first page of a report shows: the leaderboard, the published tables and figures, the claims."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
from plotly import graph_objects

from lrbench.method import naming, registry
from lrbench.report import published, tables
from lrbench.report.formats import Table
from lrbench.report.frame import CONDITIONS, OLDER
from lrbench.report.plots import COLOURS
from lrbench.report.site.pages import slug
from lrbench.report.site.sections import Named, Section
from lrbench.report.ways import DASH, fixed

KINDS = {  # of a gain -> in words, colour and marker
    "more": ("better than its control", COLOURS[3], "circle"),
    "less": ("worse", COLOURS[1], "circle"),
    "undecided": ("may be chance, or too few seeds", "#777777", "circle-open"),
}
LINE, REST = 24, 190  # pixels: a line of a label; all that is not lines
FAR = 4  # times the middle one of a place: a gain beyond that stands at the edge, as a number
WRAP = 26  # characters in a line of a label
PLACE = [*CONDITIONS, "backbone", "width"]  # what all gains of a plot share
HOVER = (
    "%{customdata[0]}<br>gain %{customdata[3]:+.2f} [%{customdata[4]:+.2f}, %{customdata[5]:+.2f}]<br>"
    "top-1 %{customdata[1]:.2f} %, seeds: %{customdata[2]}<extra></extra>"
)


def content(
    named: Mapping[str, Named], drawn: Section, results: pd.DataFrame, note: Callable[[str], None]
) -> dict[str, Any]:
    """What its template is filled with. named: the tables that there are; drawn: the page of figures."""
    boards = named[tables.LEADERBOARD].tables if tables.LEADERBOARD in named else []
    every = ways([one for one in boards if len(one.numbers)], results)
    figures = published.installed(published.FIGURES, "figure", note)
    sweeps = {name: one.title for name, one in figures if isinstance(one, published.PublishedSweep)}
    return {
        "plot": plot(every),
        "ways": rows(every),
        "published": [
            {"id": f"first-{slug(name)}", "table": _fullest(named[name].tables), "legend": named[name].legend}
            for name in registry.installed(published.TABLES)
            if name in named
        ],
        "sweeps": [one | {"title": sweeps[one["name"]]} for one in drawn.content["figures"] if one["name"] in sweeps],
        "claims": claims(named[tables.CLAIMS].tables) if tables.CLAIMS in named else None,
    }


def ways(boards: Sequence[Table], results: pd.DataFrame) -> pd.DataFrame:
    """A row for each way of training on the leaderboards, of the newest protocol first, then what was run most.

    With its `name`, its `network`, and `under` which protocol, in words.
    """
    if not boards:
        return pd.DataFrame()
    every = pd.concat([one.numbers.assign(under=one.conditions) for one in boards], ignore_index=True)
    words = {text: text.split(", ") for text in every["under"].unique()}
    shared = set.intersection(*map(set, words.values()))  # which tells none of them apart
    short = {text: ", ".join(one for one in said if one not in shared) or said[0] for text, said in words.items()}
    names = results.drop_duplicates("id").set_index("id")["name"]
    networks = [naming.network(*one) for one in zip(every["backbone"], every["width"], strict=True)]
    apart = every["row"].str.extract(r"((?: \[[^]]*\])+)$", expand=False).fillna("")  # one name, two versions
    found = every.assign(name=every["id"].map(names) + apart, under=every["under"].map(short), network=networks)
    of_place = found.groupby(PLACE, dropna=False)["id"].transform("size")
    order = pd.DataFrame({"protocol": -found["protocol"], "ways": -of_place})
    return found.loc[order.sort_values(["protocol", "ways"], kind="stable").index]


def rows(every: pd.DataFrame) -> list[dict[str, Any]]:
    """The lines of the leaderboard: texts by column, with the ids of the runs behind a line."""
    return [
        {
            "name": way["name"],
            "run": f"{way['runs']} {way['diverged_runs']}".split()[0],
            "dataset": way["dataset"],
            "size": f"{way['size']}{' (tested on HR)' if way['tested_on'] == 'hr' else ''}",
            "backbone": way["network"],
            "protocol": way["under"],
            "top1": fixed(way["top1_mean"]) if way["n"] else "diverged",
            "sd": fixed(way["top1_sd"]),
            "gain": fixed(way["control_gain"], "+"),
            "interval": f"{way['control_low']:+.2f} to {way['control_high']:+.2f}" if _kind(way) else DASH,
            "kind": _kind(way),
            "seeds": f"{way['n']}" + (f", {way['diverged']} diverged" if way["diverged"] else ""),
        }
        for way in every.to_dict("records")
    ]


def _kind(way: Mapping[str, Any]) -> str:
    """A key of KINDS; empty of what has no control."""
    if pd.isna(way["control_gain"]):
        return ""
    return "undecided" if not way["control_mark"] else "more" if way["control_gain"] > 0 else "less"


def plot(every: pd.DataFrame) -> str:
    """Gains over the control of equal budget with their 95% intervals, a place at a time, as HTML; empty without any.

    The HTML wants plotly.min.js beside it.
    """
    gained = every[every["control_gain"].notna()] if len(every) else every
    if not len(gained):
        return ""
    places = [place.sort_values("control_gain") for _, place in gained.groupby(PLACE, dropna=False, sort=False)]
    titles = [" ".join(place.iloc[0][["dataset", "size", "network"]]) for place in places]
    figure, menu = graph_objects.Figure(), []
    for number, place in enumerate(places):
        labels = [_label(way) for way in place.to_dict("records")]
        for trace in _traces(place, labels):
            figure.add_scatter(**trace, visible=number == 0)
        height = REST + LINE * sum(1 + label.count("<br>") for label in labels)
        shown = [n // len(KINDS) == number for n in range(len(KINDS) * len(places))]
        first = place.iloc[0]
        about = titles[number] if titles.count(titles[number]) == 1 else f"{titles[number]}; {first['under']}"
        menu.append((about, shown, {"height": height, "yaxis.categoryarray": labels, "title.text": first["under"]}))
    buttons = [
        {"label": about, "method": "update", "args": [{"visible": shown}, layout]} for about, shown, layout in menu
    ]
    first = menu[0][2]
    figure.update_layout(
        template="plotly_white",
        height=first["height"],
        title={"text": first["title.text"], "font": {"size": 12}, "x": 0.01, "y": 1, "yanchor": "top", "pad": {"t": 8}},
        margin={"l": 8, "r": 16, "t": 70, "b": 120},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        xaxis={"title": {"text": "gain, points of top-1", "standoff": 4}, "zerolinecolor": "black"},
        yaxis={"automargin": True, "categoryorder": "array", "categoryarray": first["yaxis.categoryarray"]},
        updatemenus=[{"buttons": buttons, "x": 1, "xanchor": "right", "y": 1, "yanchor": "bottom", "pad": {"b": 4}}],
    )
    config = {"displayModeBar": False, "responsive": True}
    return str(figure.to_html(full_html=False, include_plotlyjs="directory", div_id="gains", config=config))


def _traces(place: pd.DataFrame, labels: Sequence[str]) -> list[dict[str, Any]]:
    """The points of each of KINDS, as Plotly takes them. labels: of the rows of `place`."""
    found = []
    of_row = place.assign(label=labels, kind=[_kind(way) for way in place.to_dict("records")])
    of_row["run"] = place["runs"].str.split().str[0]  # report.js opens its page
    gains = of_row[["control_gain", "control_low", "control_high"]].astype(float)
    reach = FAR * gains.abs().max(axis=1).median()
    for kind, (said, colour, symbol) in KINDS.items():
        some = of_row[of_row["kind"] == kind].iloc[::-1]  # the first gives the legend its marker
        gain, low, high = (gains.loc[some.index, f"control_{name}"] for name in ("gain", "low", "high"))
        far = gain.abs() > reach
        shown = gain.clip(-reach, reach)
        found.append(
            {
                "x": shown.tolist(),
                "y": some["label"].tolist(),
                "error_x": {
                    "array": (high - gain).where(~far, 0).tolist(),
                    "arrayminus": (gain - low).where(~far, 0).tolist(),
                    "width": 0,
                },
                "text": [f"  {one:+.1f}  " if beyond else "" for one, beyond in zip(gain, far, strict=True)],
                "textposition": ["middle right" if one < 0 else "middle left" for one in gain],
                "customdata": some[["name", "top1_mean", "n", *gains, "run"]].to_numpy().tolist(),
                "hovertemplate": HOVER,
                "mode": "markers+text",
                "marker": {
                    "color": colour,
                    "size": 9,
                    "symbol": [
                        ("triangle-left" if one < 0 else "triangle-right") if beyond else symbol
                        for one, beyond in zip(gain, far, strict=True)
                    ],
                },
                "name": said,
            }
        )
    return found


def _label(way: Mapping[str, Any]) -> str:
    """A name, in lines."""
    return "<br>".join(textwrap.wrap(way["name"].replace("<", "&lt;"), WRAP))


def _fullest(found: Sequence[Table]) -> Table:
    """Of the tables of one name, of the newest protocol where there is one, that which has most cells with runs."""

    def order(table: Table) -> tuple[bool, int]:
        cells = 0 if table.runs is None else int((table.runs.map(len) > 0).to_numpy().sum())
        return OLDER not in table.conditions, cells

    return max(found, key=order)


def claims(found: Sequence[Table]) -> dict[str, Any] | None:
    """The claims with verdict and reason, under the conditions under which most of them are decided."""
    judged = [table for table in found if "verdict" in table.shown]
    if not judged:
        return None

    def order(table: Table) -> tuple[bool, int]:
        return OLDER not in table.conditions, int((table.shown["verdict"] != "undecided").sum())

    best = max(judged, key=order)
    lines = [
        {"text": str(row.iloc[0]), **{name: str(row.get(name, "")) for name in ("verdict", "why", "compared")}}
        for _, row in best.shown.iterrows()
    ]
    texts = [line["text"] for line in lines]
    for line in lines:
        if texts.count(line["text"]) > 1:
            line["text"] += f" ({line['compared']})"
    return {"conditions": best.conditions, "lines": lines}
