"""The report: a folder of static pages with every table, figure and run of a store, to be read or put online."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from lrbench import __version__
from lrbench.errors import UserError
from lrbench.report import cells, lines
from lrbench.report.formats import DASH
from lrbench.report.predictions import csv_lines
from lrbench.report.site import cost, pages, run_page, sections
from lrbench.report.site.run_page import Relations
from lrbench.report.site.sections import Found, Table
from lrbench.report.site.snapshot import Snapshot
from lrbench.spec.record import Record
from lrbench.store import replaced
from lrbench.store.store import CURVE, RECORD, Store

TABLES = "tables.html"
CLAIMS = "claims"  # the table that has a page of its own, where there is one
NEWEST = 10  # runs on the first page
MOST_LISTED = 12  # data sets, methods and the like in a line


def write(store: Store, out: Path, data: Path, note: Callable[[str], None]) -> Path:
    """Write the report of a store to the folder `out`, whole or not at all; returns its first page.

    A report that is there already is replaced. Raises UserError where there is no run, and where `out` holds
    anything but a report; OSError where it cannot be written.
    """
    replaced.check(out)
    snapshot = Snapshot(store.root, store.warn, store.shown, store.others)
    if not snapshot.records():
        raise UserError(f"there is no run in {store.root}; start with 'lrbench run'")
    with replaced.replaced(out, lambda: note(f"another process is writing {out}; waiting for it")) as folder:
        _Report(snapshot, data, folder, note).write()
    return out / "index.html"


class _Report:
    """One report while it is written."""

    def __init__(self, store: Snapshot, data: Path, folder: Path, note: Callable[[str], None]) -> None:
        self.store, self.data, self.note = store, data, note
        self.records = store.counted(store.records())
        self.relations = Relations.of(self.records)
        self.names = {record.id: run_page.name(record.spec) for record in self.records}
        moment = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        self.pages = pages.Pages(
            folder,
            names=self.names,
            score=run_page.score,
            links=[],
            made=f"Made by lrbench {__version__} from {len(self.records):,} runs on {moment}.",
        )
        self.pages.environment.filters["run"] = self.relations.records.__getitem__
        self.pages.environment.filters["experiments"] = run_page.experiments

    def write(self) -> None:
        known = self.relations.records
        found = sections.all_tables(self.store, known, self.pages)
        missing = [f"Table {name}: no run yet." for name, one in found.items() if one is None]
        claims = found.pop(CLAIMS, None)
        tables = Found([one for one in found.values() if one], missing)
        costs = sections.table("cost", cost.sheets(self.records), known, self.pages)
        figures = sections.all_figures(self.store, self.data, self.pages, self.note)
        links = self.pages.environment.globals["links"] = [
            ("index.html", "Overview"),
            (TABLES, "Tables"),
            *([("claims.html", "Claims")] if claims else []),
            ("figures.html", "Figures"),
            ("curves.html", "Learning curves"),
            ("cost.html", "Cost"),
            ("runs.html", "Runs"),
        ]
        self._tables(TABLES, "Tables", tables)
        if claims:
            self._tables("claims.html", "Claims", Found([claims]))
        if costs:
            self._tables("cost.html", "Cost", Found([costs]), filtered=True)
        self.pages.write("figures.html", "figures.html", figures=figures.shown, missing=figures.missing)
        curves = sections.all_curves(self.store)
        self.pages.write("curves.html", "curves.html", groups=curves)
        self.pages.write("runs.html", "runs.html", rows=[self._row(record) for record in self._newest_first()])
        contents = {
            TABLES: _entries(tables.shown) + [("", one) for one in tables.missing],
            "claims.html": _entries([claims], "claims.html") if claims else [],
            "figures.html": [(f"figures.html#{one.id}", one.name) for one in figures.shown]
            + [("", one) for one in figures.missing],
            "curves.html": [(f"curves.html#curves-{n}", one["heading"]) for n, one in enumerate(curves, 1)],
            "cost.html": _entries([costs], "cost.html") if costs else [],
        }
        self.pages.write(
            "index.html",
            "index.html",
            facts=self._facts(),
            contents=[(path, label, contents[path]) for path, label in links if path in contents],
            newest=[(record, _when(record)) for record in self._newest_first()[:NEWEST]],
            records=len(self.records),
        )
        console = Console(stderr=True)
        for record in track(
            self.records, "pages of runs", console=console, transient=True, disable=not console.is_terminal
        ):
            self._run(record)

    def _tables(self, path: str, heading: str, found: Found, filtered: bool = False) -> None:
        only = found.shown[0].title == heading if len(found.shown) == 1 else False
        content = {
            "heading": heading,
            "only": only,
            "filtered": filtered,
            "first": "claim" if path == "claims.html" else "method",
        }
        self.pages.write("tables.html", path, tables=found.shown, missing=found.missing, **content)

    def _run(self, record: Record) -> None:
        folder, source = f"runs/{record.id}", self.store.root / record.id
        predictions = self.store.predictions(record.id)
        table = "".join(f"{line}\n" for line in csv_lines(predictions))
        self.pages.save(f"{folder}/predictions.csv", table)
        for name in (RECORD, CURVE):
            shutil.copyfile(source / name, self.pages.folder / folder / name)
        restored = run_page.restored_png(predictions)
        if restored:
            self.pages.save(f"{folder}/restored.png", restored)
        env = {key: value for key, value in record.env.items() if value is not None}
        hashes = [("method source", record.method_source or "unknown"), *record.files.items()]
        self.pages.write(
            "run.html",
            f"{folder}/index.html",
            record=record,
            size=run_page.size(record),
            backbone=run_page.backbone(record.spec),
            measure=run_page.score(record),
            warning=run_page.warning(record),
            columns=table.partition("\n")[0].replace(",", ", "),
            panels=lines.panels(lines.read(self.store.curve(record.id))),
            restored=bool(restored),
            metrics=run_page.metrics(record),
            needs=self.relations.tree(record.spec),
            users=self.relations.users(record.id),
            siblings=self.relations.siblings(record.id),
            settings=run_page.settings(record.spec),
            protocol=run_page.protocol(record),
            environment=list(env.items()),
            hashes=hashes,
            spec=json.dumps(record.spec.model_dump(mode="json"), indent=1),
        )

    def _newest_first(self) -> list[Record]:
        return sorted(self.records, key=cells.finished, reverse=True)

    def _row(self, record: Record) -> dict[str, Any]:
        """A line of the list of runs."""
        spec = record.spec
        return {
            "id": record.id,
            "name": self.names[record.id],
            "dataset": spec.dataset,
            "size": run_page.size(record) + (" (HR)" if spec.scale is None else ""),
            "backbone": run_page.backbone(spec),
            "recipe": cells.fields(record.spec)["recipe"],
            "epochs": record.metrics.get("epochs_in_weights"),
            "train": f"{record.data.train_images:,}",
            "seed": spec.seed,
            "top1": "" if record.restores else run_page.score(record)[1],
            "psnr": run_page.score(record)[1] if record.restores else "",
            "finished": _when(record),
        }

    def _facts(self) -> list[tuple[str, str]]:
        """The store at a glance."""
        seconds = sum(record.metrics.get("train_seconds") or 0 for record in self.records)
        finished = sorted(str(when)[:10] for record in self.records if (when := record.env.get("finished")))
        return [
            ("runs", f"{len(self.records):,}"),
            ("experiments, seeds together", f"{len(self.relations.seeds):,}"),
            ("training time in all", f"{seconds / 3600:,.1f} hours"),
            ("finished", " to ".join(dict.fromkeys((finished[0], finished[-1]))) if finished else DASH),
            ("data sets", _list([record.spec.dataset for record in self.records])),
            ("methods", _list([record.spec.method for record in self.records])),
            ("backbones", _list([name for record in self.records if (name := run_page.backbone(record.spec))])),
            ("devices", _list([str(record.env.get("device") or DASH) for record in self.records])),
        ]


def _when(record: Record) -> str:
    """When it was finished, to the minute."""
    return str(record.env.get("finished") or DASH)[:16].replace("T", " ")


def _list(values: Sequence[str]) -> str:
    """The different values, a few of them by name."""
    different = sorted(set(values))
    more = f" and {len(different) - MOST_LISTED} more" if len(different) > MOST_LISTED else ""
    return "; ".join(different[:MOST_LISTED]) + more


def _entries(tables: Sequence[Table], page: str = TABLES) -> list[tuple[str, str]]:
    """Links to every protocol of some tables; to one of several tables, with its name."""
    entries = []
    for table in tables:
        parts = len({one.title for one in table.sheets})  # such as claims, and their evidence
        for number, one in enumerate(table.sheets, 1):
            named = f"{_short(table.title)}: " if page == TABLES else f"{_last(one.title)}: " if parts > 1 else ""
            entries.append((f"{page}#{table.id}-{number}", named + one.protocol))
    return entries


def _short(title: str) -> str:
    """ "Table 1" of "Table 1: top-1 accuracy"."""
    return title.partition(": ")[0]


def _last(title: str) -> str:
    """ "the evidence" of "Claims: the evidence"."""
    return title.rpartition(": ")[2]
