"""The report: a folder of static pages with every table, figure and run of a store, to be read or put online."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from plotly.offline import get_plotlyjs
from rich.console import Console
from rich.progress import track

from lrbench.errors import UserError, few
from lrbench.report import lines, tables
from lrbench.report.frame import FAILED, column, frame
from lrbench.report.site import first_page, run_page, sections
from lrbench.report.site.pages import Pages
from lrbench.report.site.run_page import Related
from lrbench.report.site.sections import Section
from lrbench.report.ways import DASH, finished
from lrbench.store import Store, replaced
from lrbench.store.record_file import CURVE, PREDICTIONS, RECORD, read_file

NEWEST = 10  # runs on the first page
MOST_LISTED = 12  # datasets, methods and the like in a line


def write(
    store: Store, out: Path, data: Path, note: Callable[[str], None], renamed: Mapping[str, str] | None = None
) -> Path:
    """Write the report of a store to the folder `out`, whole or not at all; returns its first page.

    renamed: in published tables and claims, old dataset -> the one in its place. A report that is there already is
    replaced. Raises UserError where there is no run, or none of what is renamed, and where `out` holds anything but a
    report; OSError where it cannot be written.
    """
    replaced.check(out)
    results = frame(store)
    results["origin"] = results["origin"].map(lambda path: Path(path).name, na_action="ignore")  # no page has our paths
    if not (results["status"] != FAILED).any():
        raise UserError(f"there is no run in {store}; start with 'lrbench run'")
    renamed = renamed or {}
    tables.check_renamed(None, renamed, results, store)
    busy = f"another process is writing {out}; waiting for it"
    with replaced.replaced(out, lambda way_out: note(busy + way_out)) as folder:
        _write(results, store, folder, data, note, renamed)
    return out / "index.html"


def _write(
    results: pd.DataFrame,
    store: Store,
    folder: Path,
    data: Path,
    note: Callable[[str], None],
    renamed: Mapping[str, str],
) -> None:
    ended = results[results["status"] != FAILED]
    related = Related(ended)
    moment = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    made = f"Made by lrbench {version('lrbench')} from {len(ended):,} runs on {moment}."
    pages = Pages(folder, made=made, cells=related.cells, experiments=related.experiments)
    in_time = finished(ended).sort_values(ascending=False, kind="stable")
    newest = [related.runs[run] for run in ended.loc[in_time.index, "id"]]
    named, missing = sections.read_tables(results, store, pages, note, renamed)
    drawn = sections.of_figures(ended, store, data, pages, note)
    found = [
        *sections.of_tables(named, missing),
        drawn,
        sections.of_cost(ended, pages),
        Section("runs.html", "Runs", "runs.html", {"rows": newest}, sections.counted(len(newest), "run")),
    ]
    links = [("index.html", "Overview"), *((one.path, one.label) for one in found)]
    pages.environment.globals["links"] = links
    for one in found:
        pages.write(one.template, one.path, **one.content)
    first = {"facts": _facts(ended), "sections": found, "newest": newest[:NEWEST]}
    pages.save("plotly.min.js", get_plotlyjs())
    pages.write("index.html", "index.html", **first, **first_page.content(named, drawn, results, store.right, note))
    console = Console(stderr=True)
    records = [one for one in store.contents() if one["id"] in related.runs]  # others may have been finished meanwhile
    for record in track(records, "pages of runs", console=console, transient=True, disable=not console.is_terminal):
        _write_run(record, related, store, pages)


def _write_run(record: dict[str, Any], related: Related, store: Store, pages: Pages) -> None:
    """The page of a run, and the files that it links to."""
    run = related.runs[record["id"]]
    origin = store.origin(run.id)
    folder, source = f"runs/{run.id}", (origin or store.root) / run.id
    curve, predictions = store.curve(run.id), store.predictions(run.id)
    restored = run_page.restored_png(predictions)
    files = {name: read_file(str(source), name) for name in (RECORD, CURVE, PREDICTIONS)} | {"restored.png": restored}
    for name, content in files.items():
        if content is not None:
            pages.save(f"{folder}/{name}", content)
    env = {"read from": origin.name if origin else None, **record["env"]}
    pages.write(
        "run.html",
        f"{folder}/index.html",
        run=run,
        test_images=record["data"]["test_images"],
        warning=run_page.warning(run),
        arrays=", ".join(predictions),
        panels=lines.panels(lines.read(curve)),
        restored=restored is not None,
        metrics=run_page.metrics(run, record["metrics"]),
        needs=related.tree(record["spec"]),
        users=related.users(run),
        siblings=related.siblings(run),
        settings=run_page.settings(run, record["spec"]["config"]),
        protocol=run_page.protocol(run, record),
        environment=[(name, value) for name, value in env.items() if value is not None],
        hashes=[("method source", record["method_source"] or "unknown"), *record["files"].items()],
        spec=json.dumps(record["spec"], indent=1),
    )


def _facts(ended: pd.DataFrame) -> list[tuple[str, str]]:
    """The store at a glance."""
    days = sorted(day for when in finished(ended) if (day := when[:10]))
    return [
        ("runs", f"{len(ended):,}"),
        ("experiments, seeds together", f"{ended['experiment'].nunique():,}"),
        ("training time in all", f"{column(ended, 'train_seconds').sum() / 3600:,.1f} hours"),
        ("finished", " to ".join(dict.fromkeys((days[0], days[-1]))) if days else DASH),
        ("datasets", _list(ended["dataset"])),
        ("methods", _list(ended["method"])),
        ("backbones", _list(run_page.listed(ended)["backbone"])),
        ("devices", _list(column(ended, "env.device").astype(object).fillna(DASH))),
    ]


def _list(values: Iterable[str]) -> str:
    """The different values, a few of them by name."""
    return few(sorted({*values} - {""}), MOST_LISTED, "; ")
