"""What the first page of a report shows: the leaderboard, the published tables and figures, the claims."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
from plotly import graph_objects

from lrbench.method import naming, registry
from lrbench.report import leaderboard, plots, published, tables
from lrbench.report.compare import SEEDS, Right
from lrbench.report.formats import Table
from lrbench.report.frame import CONDITIONS
from lrbench.report.site.pages import slug
from lrbench.report.site.sections import Named, Section
from lrbench.report.ways import DASH, comparison, fixed, gain, score
from lrbench.spec import PROTOCOL

KINDS = {  # leaderboard.kind of a gain -> in words, and how its marker is filled
    "more": ("interval above 0", ""),
    "less": ("interval below 0", ""),
    "undecided": (f"interval holds 0, or fewer than {SEEDS} seeds", "-open"),
}
LINE, REST = 24, 210  # pixels: a row; all that is not rows
LONGEST = 32  # characters of a label, half a phone's width; the rest is seen at the point
CHOICES = ("settings", "dataset", "size", "backbone", "protocol")  # columns of the leaderboard, where lines differ
PLACE = [*CONDITIONS, "backbone", "width"]  # what all gains of a plot share
MENU = {"x": 1, "xanchor": "right", "y": 1, "yanchor": "bottom"}  # above the plot
HOVER = (
    "%{customdata[0]}<br>gain %{customdata[3]:+.2f} [%{customdata[4]:+.2f}, %{customdata[5]:+.2f}]<br>"
    "top-1 %{customdata[1]:.2f} %, seeds: %{customdata[2]}<extra></extra>"
)


def content(
    named: Mapping[str, Named], drawn: Section, results: pd.DataFrame, right: Right, note: Callable[[str], None]
) -> dict[str, Any]:
    """What its template is filled with. named: the tables that there are; drawn: the page of figures."""
    boards = named[tables.LEADERBOARD].tables if tables.LEADERBOARD in named else []
    every = ways([one for one in boards if len(one.numbers)], results)
    figures = published.installed(published.FIGURES, "figure", note)
    sweeps = {name: one.title for name, one in figures if isinstance(one, published.PublishedSweep)}
    return {
        "answers": answers(every, results, right) if len(every) else [],
        "plot": plot(every),
        "ways": board(every, results) if len(every) else None,
        "published": [
            {"id": f"first-{slug(name)}", "table": named[name].tables[0], "legend": named[name].legend}
            for name in registry.installed(published.TABLES)
            if name in named
        ],
        "sweeps": [one | {"title": sweeps[one["name"]]} for one in drawn.content["figures"] if one["name"] in sweeps],
        "claims": claims(named[tables.CLAIMS].tables) if tables.CLAIMS in named else None,
    }


def ways(boards: Sequence[Table], results: pd.DataFrame) -> pd.DataFrame:
    """A row for each way of training on the leaderboards, of the newest protocol first, then what was run most.

    With the `label` of its method and its `settings`, its `network`, and `under` which protocol, in words;
    what is tested on HR images has their size.
    """
    if not boards:
        return pd.DataFrame()
    every = pd.concat([one.numbers.assign(under=one.conditions) for one in boards], ignore_index=True)
    said = list(every["under"].unique())
    short = {text: own or text.partition(", ")[0] for text, own in zip(said, _apart(said), strict=True)}
    about = results.drop_duplicates("id").set_index("id").loc[every["id"]].reset_index()
    networks = [naming.network(*one) for one in zip(every["backbone"], every["width"], strict=True)]
    found = every.assign(label=about["label"], under=every["under"].map(short))
    found["settings"] = [name[len(label) :].strip() for name, label in zip(found["name"], found["label"], strict=True)]
    on_hr = about["side"].map("{0:.0f}x{0:.0f} (HR)".format)
    found = found.assign(network=networks, size=found["size"].where(found["tested_on"] != "hr", on_hr))
    of_place = found.groupby(PLACE, dropna=False)["id"].transform("size")
    order = pd.DataFrame({"protocol": -found["protocol"], "ways": -of_place})
    return found.loc[order.sort_values(["protocol", "ways"], kind="stable").index]


def board(every: pd.DataFrame, results: pd.DataFrame) -> dict[str, Any]:
    """The leaderboard: its `lines`, texts by column; which of CHOICES are its `columns`; what `all` lines share."""
    seed = results.drop_duplicates("id").set_index("id")["seed"]
    lines = [
        {
            "method": way["label"],
            "top1": score(way).partition(" (")[0],
            "gain": fixed(way["control_gain"], "+"),
            "interval": f"{way['control_low']:+.2f} to {way['control_high']:+.2f}" if leaderboard.kind(way) else DASH,
            "kind": leaderboard.kind(way),
            "seeds": sorted((seed[run], run, run in way["diverged_runs"]) for run in _runs(way)),
            "settings": way["settings"],
            "dataset": way["dataset"],
            "size": way["size"],
            "backbone": way["network"],
            "protocol": way["under"],
        }
        for way in every.drop_duplicates("id").to_dict("records")  # what is tested on HR images is in several places
    ]
    values = {name: {line[name] for line in lines} for name in CHOICES}
    return {
        "lines": lines,
        "columns": [name for name, found in values.items() if len(found) > 1],
        "all": [text for found in values.values() if len(found) == 1 for text in found if text],
    }


def answers(every: pd.DataFrame, results: pd.DataFrame, right: Right) -> list[dict[str, str]]:
    """What gains most by learning from a teacher, and what by super-resolving, where both were run with three seeds.

    And the difference of these two by themselves: no other row's spread is pooled with theirs.
    """
    counted = every[every["control_gain"].notna() & (every["control_n"] >= SEEDS)]
    places = [place for _, place in counted.groupby(PLACE, dropna=False, sort=False)]
    found = []
    for title, place in zip(_titles(places), places, strict=True):
        restored = place["sr_images"] != ""
        distilled = ~restored & place["teacher_top1"].notna()
        if restored.any() and distilled.any():
            best = [some.loc[some["control_gain"].idxmax()] for some in (place[distilled], place[restored])]
            said = [_most("distilling", best[0], sum(distilled)), _most("super-resolving", best[1], sum(restored))]
            mine, other = (results[results["id"].isin(_runs(way))] for way in best)
            between = comparison(mine, other, right)
            if between and between.of_ways:
                low, high = between.interval
                said.append(f"the one minus the other is {between.gain:+.2f} [{low:+.2f}, {high:+.2f}]")
            found.append({"place": title, "text": "; ".join(said)})
    return found


def _most(kind: str, way: Mapping[str, Any], count: int) -> str:
    """The way of training that gains most of its kind, of which there are so many."""
    interval = gain(way, "control").partition(" (")[0]
    among = f", the best of {count}" if count > 1 else ""
    return f"{kind} gains {'up to ' if among else ''}{interval} ({way['name']}{among})"


def _runs(way: Mapping[str, Any]) -> list[str]:
    return f"{way['runs']} {way['diverged_runs']}".split()


def plot(every: pd.DataFrame) -> str:
    """Gains over the control of equal budget with their 95% intervals, a place at a time, as HTML; empty without any.

    A place with one gain is left out where others have more. The HTML wants plotly.min.js beside it.
    """
    gained = every[every["control_gain"].notna()] if len(every) else every
    if not len(gained):
        return ""
    places = [place.sort_values("control_gain") for _, place in gained.groupby(PLACE, dropna=False, sort=False)]
    places = [place for place in places if len(place) > 1] or places
    figure, layouts = graph_objects.Figure(), []
    for number, place in enumerate(places):
        for trace in _traces(place):
            figure.add_scatter(**trace, visible=number == 0)
        layouts.append(
            {
                "height": REST + LINE * len(place),
                "yaxis.tickvals": list(range(len(place))),
                "yaxis.ticktext": [_label(name) for name in place["name"]],
                "yaxis.range": [-1, len(place)],
                "title.text": "<br>".join(textwrap.wrap(place.iloc[0]["under"], 2 * LONGEST)),
            }
        )
    buttons = []
    for number, (title, layout) in enumerate(zip(_titles(places), layouts, strict=True)):
        shown = [n // len(KINDS) == number for n in range(len(figure.data))]
        buttons.append({"label": title, "method": "update", "args": [{"visible": shown}, layout]})
    figure.update_layout(
        template="plotly_white",
        title={"font": {"size": 11}, "x": 0.01, "yref": "paper", "y": 1, "yanchor": "bottom", "pad": {"b": 44}},
        margin={"l": 8, "r": 16, "t": 90, "b": 120},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        xaxis={"title": {"text": "gain, points of top-1", "standoff": 4}, "zerolinecolor": "black"},
        yaxis={"automargin": True, "tickfont": {"size": 11}, "zeroline": False},
        updatemenus=[{"buttons": buttons, "font": {"size": 11}, "pad": {"b": 4}, **MENU}],
    )
    figure.update_layout({name.replace(".", "_"): value for name, value in layouts[0].items()})
    config = {"displayModeBar": False, "responsive": True}
    return str(figure.to_html(full_html=False, include_plotlyjs="directory", div_id="gains", config=config))


def _titles(places: Sequence[pd.DataFrame]) -> list[str]:
    """What the menu calls them: dataset, size and network; where these are equal, with what else tells them apart."""
    first = [place.iloc[0] for place in places]
    old = ["" if one["protocol"] == PROTOCOL else " (old protocol)" for one in first]
    titles = [" ".join(one[["dataset", "size", "network"]]) + mark for one, mark in zip(first, old, strict=True)]
    found = []
    for one, title in zip(first, titles, strict=True):
        same = [other["under"] for other, its in zip(first, titles, strict=True) if its == title]
        own = _apart(same)[same.index(one["under"])]
        found.append(f"{title}; {own}" if own else title)
    return found


def _traces(place: pd.DataFrame) -> list[dict[str, Any]]:
    """The points of each of KINDS, as Plotly takes them, each at the number of its row; bars of three seeds or more."""
    found = []
    of_row = place.assign(y=range(len(place)), kind=[leaderboard.kind(way) for way in place.to_dict("records")])
    of_row["run"] = place["runs"].str.split().str[0]  # report.js opens its page
    gains = of_row[["control_gain", "control_low", "control_high"]].astype(float)
    reach, left, right = plots.reach(gains)
    for kind, (said, filled) in KINDS.items():
        some = of_row[of_row["kind"] == kind].iloc[::-1]  # the first gives the legend its marker
        mean, low, high = (gains.loc[some.index, f"control_{name}"] for name in ("gain", "low", "high"))
        far = mean.abs() > reach
        shown, barred = mean.clip(left, right), ~far & (some["control_n"] >= SEEDS)
        shapes = ["square" if images else "circle" for images in some["sr_images"]]
        found.append(
            {
                "x": shown.tolist(),
                "y": some["y"].tolist(),
                "error_x": {
                    "array": (high - mean).where(barred, 0).tolist(),
                    "arrayminus": (mean - low).where(barred, 0).tolist(),
                    "width": 0,
                },
                "text": [f"  {one:+.1f}  " if beyond else "" for one, beyond in zip(mean, far, strict=True)],
                "textposition": ["middle right" if one < 0 else "middle left" for one in mean],
                "customdata": some[["name", "top1_mean", "n", *gains, "run"]].to_numpy().tolist(),
                "hovertemplate": HOVER,
                "mode": "markers+text",
                "marker": {
                    "color": plots.GAINS[kind],
                    "size": 9,
                    "symbol": [
                        ("triangle-left" if one < 0 else "triangle-right") if beyond else shape + filled
                        for one, beyond, shape in zip(mean, far, shapes, strict=True)
                    ],
                },
                "name": said,
            }
        )
    return found


def _label(name: str) -> str:
    """A name in one line: as many of its settings as find room."""
    first, *rest = textwrap.wrap(name, LONGEST, break_on_hyphens=False)
    return first.replace("<", "&lt;") + (" …" if rest else "")


def _apart(texts: Sequence[str]) -> list[str]:
    """Of texts, in parts between commas, the parts that not all of them have."""
    parts = [text.split(", ") for text in texts]
    shared = set.intersection(*map(set, parts))
    return [", ".join(one for one in said if one not in shared) for said in parts]


def claims(found: Sequence[Table]) -> dict[str, Any] | None:
    """The claims with verdict and reason, under the conditions that stand first: most comparisons count there."""
    best = next((table for table in found if "verdict" in table.shown), None)
    if best is None:
        return None
    lines = [
        {"text": str(row.iloc[0]), **{name: str(row.get(name, "")) for name in ("verdict", "why", "compared")}}
        for _, row in best.shown.iterrows()
    ]
    texts = [line["text"] for line in lines]
    for line in lines:
        if texts.count(line["text"]) > 1:
            line["text"] += f" ({line['compared']})"
    return {"conditions": best.conditions, "lines": lines}
