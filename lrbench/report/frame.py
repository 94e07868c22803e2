"""The frame: all results as one pandas DataFrame with a row per run; every table and figure is selected from it.

Columns, in this order:
- FIRST, what one looks for;
- experiment (a number that the seeds of one way of training share: specs that are equal but for their seeds); anyhow
  (the same, whatever the precision); label of the method; name, the label with the settings that differ from the
  defaults; these settings (`changes`) and the defaults, both as JSON;
- every field of the spec, with `size`, such as "8x8", and `tested_on`, lr or hr; the settings as JSON in `config`,
  where one that is newer than the run has its default, and those of the spec one by one as `set.NAME`; the recipe in
  words and as `recipe.FIELD`; `content` and `needs`: the data's fingerprint and the needed runs, as ids; `variant`:
  the dataset with its content, where one name has stood for several contents;
- `teacher`, `teacher_top1`, `teacher_epochs`: the run that a student learns from, and its score, where it did not
  diverge; `sr_images`, `sr_epochs`: of the SR net whose images a classifier sees;
- status (done, diverged or failed) and why; `origin`, the store that a run is from, where that is not the user's own;
  every metric under its own name, and `deployed`, the parameters of all that a run is tested with: its own and those of
  the SR net in front of it, where the record says so; the checksums of its weights and of those that it was given;
  data.train_images and the like; env.*.

A field that is added to the spec gets a column, and splits tables, by itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any

import pandas as pd

from lrbench.errors import UserError, did_you_mean, printable
from lrbench.method import naming
from lrbench.spec import PROTOCOL, RunSpec, recipes
from lrbench.spec.recipes import Recipe
from lrbench.spec.record import About, Record
from lrbench.spec.runspec import ADDED, id_of, stripped
from lrbench.store import Store
from lrbench.store.store import WEIGHTS

DONE, DIVERGED, FAILED = "done", "diverged", "failed"
TEACHER = "teacher"  # the role of the run that a student learns from
RESTORES = recipes.NONE  # the backbone of an SR net, which recognises nothing
FIRST = ["id", "name", "backbone", "dataset", "size", "seed", "status", "top1"]
WAY = ("method", "version", "config", "backbone", "width", "needs")  # fields of the spec that make a way of training
WITHIN = ("seed", "precision")  # fields that may differ within a table, beside those
INSTEAD = {"fingerprint": ("content",), "recipe": ("recipe", "recipe.epochs", "recipe.batch_size")}  # their columns
SPLITTING = [field for field in RunSpec.model_fields if field not in (*WAY, *WITHIN)]
CONDITIONS = [column for field in SPLITTING for column in INSTEAD.get(field, (field,))]
ON_LR = ["scale", "degradation"]  # conditions that a run on HR images does not have: it stands in all of their tables
PLACE = ["dataset", "content", "scale"]  # conditions that are columns in a paper's table
SHARED = ["variant", *(name for name in CONDITIONS if name not in PLACE)]  # what all of such a table share
SHARED_NUMBERS = SHARED[1:]  # of them what its long form says: `content` names the variant
MEASURED = ["top1", "val_top1", "epochs_in_weights", "predicted_classes", "deployed", "macs", "train_seconds"]
USED = [  # by tables of classifiers; all others are left out there, for a narrow frame is a quick one
    *("id", "experiment", "anyhow", "label", "name", "changes", "variant", *CONDITIONS, *WAY, *WITHIN),
    *("side", "size", "tested_on", "teacher", "teacher_top1", "teacher_epochs", "sr_images", "sr_epochs"),
    *("status", "why", "origin", "weights", "needs_weights", *MEASURED, "env.device", "env.finished"),
]
SELECTED = {
    "none": "final epoch",
    "best-epoch": "epoch chosen on held-out images",
    "val": "epoch chosen on held-out images",
    "held-out": "final epoch, validation images held out",
}
_encode = json.JSONEncoder(sort_keys=True).encode


def frame(
    source: Store | Iterable[Record], failures: Iterable[tuple[RunSpec, str]] = (), ids: Collection[str] | None = None
) -> pd.DataFrame:
    """A row per run of a store, those that failed among them, or of some records and failures.

    ids: of the finished runs of a store that are wanted, and no others.
    """
    if isinstance(source, Store):
        contents = [_of_store(one, source) for one in source.contents(ids)]
        failures = source.failures() if ids is None else ()
    else:
        contents = [one.model_dump(mode="json") for one in source]
    failed = [(spec.model_dump(mode="json"), why) for spec, why in failures]
    finished = {_hash(one["spec"], ("version",)) for one in contents} if failed else set()
    failed = [(spec, why) for spec, why in failed if _hash(spec, ("version",)) not in finished]
    sides = {(one["spec"]["dataset"], content_of(one["spec"])): one["data"]["side"] for one in contents}
    rows = [
        (*_of_spec(one["id"], one["spec"], one.get("about"), sides), _of_result(one), one["metrics"])
        for one in contents
    ]
    rows += [(*_of_spec(id_of(spec), spec, None, sides), {"status": FAILED, "why": why}, {}) for spec, why in failed]
    if not rows:
        return pd.DataFrame(columns=[*USED, "defaults"])
    parts = [pd.DataFrame(list(part)) for part in zip(*rows, strict=True)]
    return _joined(pd.concat([part for part in parts if len(part.columns)], axis=1))


def _joined(results: pd.DataFrame) -> pd.DataFrame:
    """With what runs say of each other: teachers' and SR nets' numbers, and datasets whose content has changed."""
    by_id = results.drop_duplicates("id").set_index("id")
    done = by_id[by_id["status"] == DONE]
    restorer, needs, anyhow = (results.pop(name) for name in ("restorer", "needs_ways", "needs_anyhow"))
    usual = defaults(results)
    complete = {
        (method, config): _encode(usual.get(method, {}) | json.loads(config))
        for method, config in set(zip(results["method"], results["config"], strict=True))
    }
    results["config"] = [complete[key] for key in zip(results["method"], results["config"], strict=True)]
    alone = restorer.isna()
    known = column(results, "deployed_parameters")
    contents = results.groupby("dataset")["content"].transform("nunique")
    several = results["dataset"] + " with content " + results["content"]
    results = results.reindex(columns=[*dict.fromkeys([*FIRST, *results, *USED])])  # also those that none has measured
    way = [results[name] for name in (*CONDITIONS, *WAY) if name != "needs"]
    return results.assign(
        experiment=results.groupby([*way, results["precision"], needs], dropna=False, sort=False).ngroup(),
        anyhow=results.groupby([*way, anyhow], dropna=False, sort=False).ngroup(),
        variant=several.where(contents > 1, None),
        teacher_top1=results["teacher"].map(column(done, "top1")),
        teacher_epochs=results["teacher"].map(column(done, "epochs_in_weights")),
        sr_images=restorer.map(column(by_id, "data.train_images")),
        sr_epochs=restorer.map(column(by_id, "epochs_in_weights")),
        deployed=known.where(known.notna(), column(results, "parameters").where(alone)),
    )


def chosen(results: pd.DataFrame, store: object, **wanted: Collection[str]) -> pd.DataFrame:
    """The runs in which each column, such as dataset or method, has one of the wanted values; any where empty.

    store: where they are from, for the UserError, naming the nearest, where there is none.
    """
    if not len(results):
        raise UserError(f"there is no run in {store}; start with 'lrbench run'")
    found = results
    for name, values in wanted.items():
        there = sorted(results[name].unique())
        for value in values:
            if value not in there:
                raise UserError(f"there is no run of {name} '{value}'; {did_you_mean(value, there)}")
        found = found[found[name].isin(values)] if values else found
    if not len(found):
        asked = ", ".join(f"{name} {' or '.join(values)}" for name, values in wanted.items() if values)
        raise UserError(f"there is no run of {asked} in {store}")
    return found


def classifiers(results: pd.DataFrame) -> pd.DataFrame:
    """The rows of classifiers; those of SR nets have no accuracy."""
    return results[results["backbone"] != RESTORES]


def placed(results: pd.DataFrame) -> pd.DataFrame:
    """The classifiers' rows, USED columns, each in every place (dataset, scale, degradation) that it belongs to.

    A run on HR images stands in each that it shares all other conditions with; where there is none, by itself.
    """
    runs = classifiers(results).reindex(columns=USED).copy()
    on_hr = runs["scale"].isna()
    if not on_hr.any():
        return runs
    places = runs.loc[~on_hr, CONDITIONS].drop_duplicates()
    hr = runs[on_hr].drop(columns=ON_LR).merge(places, how="left", on=[one for one in CONDITIONS if one not in ON_LR])
    return pd.concat([part for part in (runs[~on_hr], hr) if len(part)], ignore_index=True)


def tables(results: pd.DataFrame, by: list[str] = CONDITIONS) -> list[pd.DataFrame]:
    """The `placed` rows, a frame for each set of conditions; the newest protocol first, then by dataset and size."""
    runs = placed(results)
    split = [table for _, table in runs.groupby(by, dropna=False, sort=False)] if len(runs) else []
    return sorted(split, key=lambda table: _order(table.iloc[0], by))


def size(table: pd.DataFrame) -> str:
    """Of the images of a table, in which runs on HR images may stand too; the scale, if any, where nothing is known."""
    known = table.loc[table["scale"].isna() | (table["tested_on"] == "lr"), "size"].dropna()
    scale = table.iloc[0]["scale"]
    return str(known.iloc[0]) if len(known) else "" if pd.isna(scale) else f"x{scale:g}"


def _order(run: pd.Series, by: Iterable[str]) -> tuple[Any, ...]:
    scale = 0 if pd.isna(run["scale"]) else run["scale"]
    first = (run["dataset"], -scale) if "scale" in by else ()
    return -run["protocol"], *first, *("" if pd.isna(run[name]) else str(run[name]) for name in sorted(by))


def failures_of(results: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The failed runs that belong to one of `tables`: its own, and the SR nets on its data, which its rows may need."""
    nets = results[(results["backbone"] == RESTORES) & (results["status"] == FAILED)]
    own = table[table["status"] == FAILED]
    places = table[[*PLACE, "degradation"]].drop_duplicates()
    return pd.concat([part for part in (own, nets.merge(places)) if len(part)] or [own])


def conditions(run: pd.Series, by: Iterable[str] = CONDITIONS) -> str:
    """What all rows of a table share, in words: a field that has none of its own by its name, if not as usual."""
    images = ["all" if pd.isna(run[f"limit_{part}"]) else f"{run[f'limit_{part}']:,.0f}" for part in ("train", "test")]
    said = {
        "recipe": f"recipe {run['recipe']}",
        "recipe.epochs": naming.in_epochs(run["recipe.epochs"]),
        "recipe.batch_size": f"batches of {run['recipe.batch_size']}",
        "limit_train": f"{images[0]} training and {images[1]} test images",
        "degradation": run["degradation"] if isinstance(run["degradation"], str) else "on HR images",
        "select": SELECTED.get(run["select"], run["select"]),
        "variant": run["variant"] if isinstance(run["variant"], str) else "",
    } | dict.fromkeys((*PLACE, "limit_test", "protocol"), "")
    for field in by:
        usual = field in said or pd.isna(run[field]) or run[field] == RunSpec.model_fields[field].default
        said.setdefault(field, "" if usual else f"{field} {run[field]}")
    older = "" if run["protocol"] == PROTOCOL else f"protocol {run['protocol']} (today's is {PROTOCOL})"
    return ", ".join(text for text in (*said.values(), older) if text)


def column(runs: pd.DataFrame, name: str) -> pd.Series:
    """A column that need not be there."""
    return runs[name] if name in runs else pd.Series(None, index=runs.index, dtype=object)


def defaults(results: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Method -> its settings where nothing is set, as its newest run has them."""
    newest = results.sort_values("env.finished") if "env.finished" in results else results
    known = newest.dropna(subset=["defaults"]).drop_duplicates("method", keep="last")
    return {method: json.loads(text) for method, text in zip(known["method"], known["defaults"], strict=True)}


def content_of(spec: Mapping[str, Any]) -> str:
    """Names the content of the dataset that a run saw; spec: as JSON."""
    return _short(_encode(spec["fingerprint"]))


@lru_cache(maxsize=1 << 14)  # thousands of runs have few settings
def _named(said: str, config: str) -> dict[str, Any]:
    """The columns that a method's About and settings give, both as JSON."""
    about = About.model_validate_json(said)
    changes = naming.changes(json.loads(config), about)
    return {
        "label": about.label,
        "name": " ".join([about.label, *changes]),
        "changes": _encode(changes),
        "defaults": None if about.defaults is None else _encode(about.defaults),
        "config": config,
        "tested_on": about.tested_on,
    }


def _of_spec(
    run_id: str, spec: Mapping[str, Any], about: Any, sides: Mapping[tuple[str, str], int]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """A run's columns that its spec says, its settings, its recipe. about: the method's About as JSON, or None."""
    content, needs, said = content_of(spec), spec["needs"], about or naming.about(spec["method"]).model_dump()
    side = sides.get((spec["dataset"], content))
    small = side // (spec["scale"] or 1) if side else None
    known = {role: _need(_encode(need)) for role, need in sorted(needs.items())}
    ids = {role: run for role, (run, _, _) in known.items()}
    columns: dict[str, Any] = {**ADDED, **spec, **_named(_encode(said), _encode(spec["config"]))}
    columns |= {
        "id": run_id,
        "needs_ways": " ".join(f"{role}={way}" for role, (_, way, _) in known.items()),
        "needs_anyhow": " ".join(f"{role}={way}" for role, (_, _, way) in known.items()),
        "content": content,
        "recipe": _recipe_name(tuple(spec["recipe"].items()), spec["backbone"]),
        "needs": " ".join(f"{role}={run}" for role, run in ids.items()),
        "side": side,
        "size": f"{small}x{small}" if small else None,
        "tested_on": columns["tested_on"] if spec["scale"] else "hr",
        "teacher": ids.get(TEACHER),
        "restorer": next((ids[role] for role, need in needs.items() if need["backbone"] == RESTORES), None),
    }
    del columns["fingerprint"]  # `content` names it
    return (
        columns,
        {f"set.{name}": _plain(value) for name, value in spec["config"].items()},
        {f"recipe.{name}": value for name, value in spec["recipe"].items()},
    )


def _of_result(content: Mapping[str, Any]) -> dict[str, Any]:
    """A run's columns that its record says, but for its spec and metrics."""
    needs, given = content["spec"]["needs"], content.get("needs_weights") or {}
    weights = {_need(_encode(needs[role]))[0]: digest for role, digest in given.items()}
    return {
        "status": content.get("status", DONE),
        "why": content.get("why"),
        "origin": content.get("origin"),
        "weights": content["files"].get(WEIGHTS),
        "needs_weights": _plain(weights) if weights else None,
        **{f"data.{name}": value for name, value in content["data"].items() if name.endswith("_images")},
        **{f"env.{name}": _plain(value) for name, value in content["env"].items()},
    }


def _of_store(content: dict[str, Any], store: Store) -> dict[str, Any]:
    """With the store that it is from, if that is another than the user's own."""
    origin = store.origin(content["id"])
    return content | {"origin": printable(str(origin))} if origin else content


@lru_cache
def _recipe_name(recipe: tuple[tuple[str, Any], ...], backbone: str) -> str:
    return recipes.name_of(Recipe.model_validate(dict(recipe)), backbone)


@lru_cache(maxsize=1 << 14)  # many runs share a teacher
def _need(text: str) -> tuple[str, str, str]:
    """Of a needed run's spec (JSON) the id, and a hash of its way of training, and of that whatever the precision."""
    spec = json.loads(text)
    return id_of(spec), _hash(spec, ("seed",)), _hash(spec, ("seed", "precision"))


def _hash(spec: Mapping[str, Any], without: Collection[str]) -> str:
    """A spec without some of its fields, and without those of its needs, as a hash."""
    return _short(_encode(stripped(spec, without)))


@lru_cache(maxsize=1 << 14)
def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _plain(value: Any) -> Any:
    """A value that fits a cell: what holds others becomes JSON."""
    return _encode(value) if isinstance(value, dict | list | tuple) else value
