"""The frame: all results as one pandas DataFrame, a row per run, from which tables are selected, grouped and merged.

Columns, in this order:
- id, experiment (what seeds of one way of training share: the spec but for its seeds), label and name of the method;
- every field of the spec, with `size`, such as "8x8", and `tested_on`, lr or hr; the settings as JSON in `config` and
  one by one as `set.NAME`; the recipe in words and as `recipe.FIELD`; `content` and `needs`: the data's fingerprint and
  the needed runs, as ids; `teacher` and `teacher_top1`: the run that a student learns from, and its score, where it did
  not diverge;
- status (done, diverged or failed) and why; every metric under its own name, and `deployed`, the parameters of all that
  a run is tested with: its own and those of the SR net in front of it, where the record says so; the checksums of the
  weights that it was given of the runs that it needed; data.train_images and the like; env.*.

A field that is added to the spec gets a column, and splits tables, by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from lrbench.report import cells
from lrbench.report.needed import TEACHER
from lrbench.spec import recipes
from lrbench.spec.record import Record
from lrbench.spec.runspec import RunSpec
from lrbench.store.store import Store

DONE, DIVERGED, FAILED = "done", "diverged", "failed"
RESTORES = recipes.NONE  # the backbone of an SR net, which recognises nothing
WAY = ("method", "version", "config", "backbone", "width", "needs")  # fields of the spec that make a way of training
WITHIN = ("seed", "precision")  # fields that may differ within a table, beside those
INSTEAD = {"fingerprint": ("content",), "recipe": ("recipe", "recipe.epochs", "recipe.batch_size")}  # their columns
CONDITIONS = [
    column
    for field in RunSpec.model_fields
    if field not in (*WAY, *WITHIN)
    for column in INSTEAD.get(field, (field,))
]  # fmt: skip
ON_LR = ["scale", "degradation"]  # conditions that a run on HR images does not have: it stands in all of their tables
OF_DATA = ["dataset", "content", *ON_LR]


def frame(source: Store | Iterable[Record], failures: Iterable[tuple[RunSpec, str]] = ()) -> pd.DataFrame:
    """A row per run of a store, those that failed among them, or of some records and failures."""
    if isinstance(source, Store):
        records = source.records()
        return frame(records, cells.unmet(source.failures(), records))
    records, failed = list(source), list(failures)
    sides = {(record.spec.dataset, cells.content(record.spec)): record.data.side for record in records}
    rows = [
        (_of_spec(record.spec, sides), _settings(record.spec), _recipe(record.spec), *_of_record(record))
        for record in records
    ]
    rows += [
        (_of_spec(spec, sides), _settings(spec), _recipe(spec), {"status": FAILED, "why": why}, {}, {})
        for spec, why in failed
    ]
    if not rows:
        return pd.DataFrame(columns=["id", "experiment", "seed", "status", "top1", *CONDITIONS, *WAY])
    results = pd.concat([pd.DataFrame(list(part)) for part in zip(*rows, strict=True)], axis=1)
    scores = column(results, "top1")[results["status"] == DONE].groupby(results["id"]).first()
    return results.assign(teacher_top1=results["teacher"].map(scores))


def classifiers(results: pd.DataFrame) -> pd.DataFrame:
    """The rows of classifiers; those of SR nets have no accuracy."""
    return results[results["backbone"] != RESTORES]


def tables(results: pd.DataFrame) -> list[pd.DataFrame]:
    """The classifiers' rows, a frame for each set of CONDITIONS; the newest protocol first, then by data set and size.

    A run on HR images stands in every one that it shares all conditions with that it has; where there is none, in one
    of its own.
    """
    runs = classifiers(results)
    on_hr = runs["scale"].isna()
    places = runs.loc[~on_hr, CONDITIONS].drop_duplicates()
    shared = [column for column in CONDITIONS if column not in ON_LR]
    hr = runs[on_hr].drop(columns=ON_LR).merge(places, how="left", on=shared)
    both = pd.concat([part for part in (runs[~on_hr], hr) if len(part)]) if len(runs) else runs
    split = [table for _, table in both.groupby(CONDITIONS, dropna=False, sort=False)]
    return sorted(split, key=lambda table: _order(table.iloc[0]))


def failures(results: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The failed runs that belong to one of `tables`: its own, and the SR nets on its data, which its rows may need."""
    nets = results[(results["backbone"] == RESTORES) & (results["status"] == FAILED)]
    own = table[table["status"] == FAILED]
    places = table[OF_DATA].drop_duplicates()
    return pd.concat([part for part in (own, nets.merge(places, on=OF_DATA)) if len(part)] or [own])


def column(runs: pd.DataFrame, name: str) -> pd.Series:
    """A column that need not be there."""
    return runs[name] if name in runs else pd.Series(None, index=runs.index, dtype=object)


def _order(run: pd.Series) -> tuple[Any, ...]:
    scale = 0 if pd.isna(run["scale"]) else run["scale"]
    return -run["protocol"], run["dataset"], -scale, *(str(run[column]) for column in CONDITIONS)


def _of_spec(spec: RunSpec, sides: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    content = cells.content(spec)
    side, row = sides.get((spec.dataset, content)), cells.row_key(spec)
    small = side // (spec.scale or 1) if side else None
    derived = {
        "config": row.config,
        "fingerprint": content,
        "recipe": recipes.name_of(spec.recipe, spec.backbone),
        "needs": " ".join(f"{role}={need.id}" for role, need in sorted(spec.needs.items())),
    }
    fields = {
        INSTEAD.get(field, (field,))[0]: derived[field] if field in derived else _plain(getattr(spec, field))
        for field in type(spec).model_fields
    }
    named = {"label": cells.label(spec.method), "name": cells.name(row)}
    teacher = {"teacher": spec.needs[TEACHER].id if TEACHER in spec.needs else None}
    size = {"side": side, "size": f"{small}x{small}" if small else None, "tested_on": "lr" if spec.scale else "hr"}
    return {"id": spec.id, "experiment": cells.variant(spec), **named, **fields, **size, **teacher}


def _settings(spec: RunSpec) -> dict[str, Any]:
    return {f"set.{name}": _plain(value) for name, value in spec.config.items()}


def _recipe(spec: RunSpec) -> dict[str, Any]:
    return {f"recipe.{name}": value for name, value in spec.recipe.model_dump().items()}


def _of_record(record: Record) -> tuple[dict[str, Any], ...]:
    alone = not any(need.backbone == RESTORES for need in record.spec.needs.values())
    deployed = record.metrics.get("deployed_parameters", record.metrics.get("parameters") if alone else None)
    data = {f"data.{name}": getattr(record.data, name) for name in ("train_images", "val_images", "test_images")}
    env = {f"env.{name}": _plain(value) for name, value in record.env.items()}
    weights = {record.spec.needs[role].id: digest for role, digest in record.needs_weights.items()}
    result = {"status": record.status, "why": record.why, "needs_weights": _plain(weights) if weights else None}
    return result, dict(record.metrics) | {"deployed": deployed}, data | env


def _plain(value: Any) -> Any:
    """A value that fits a cell: what holds others becomes JSON."""
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list | tuple) else value
