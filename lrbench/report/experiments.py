"""Experiments by name: all seeds of one way of training, as a user says which one is meant.

03f1bf1f                            the id of one of its runs, or the beginning of one
dfd                                 a method
dfd lam=0.5 width=0.25              a method with settings of its own, and conditions of the run
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lrbench.errors import UserError, did_you_mean, unknown
from lrbench.report import cells
from lrbench.report.cells import Cell
from lrbench.spec.record import Record
from lrbench.spec.runspec import PROTOCOL, RunSpec

SHOWN = 8  # candidates in a line
SERVES_ALL = ("scale", *cells.SEEN)  # conditions that a run which is tested on HR does not have
ALL = "all"  # what a limit is called where there is none


@dataclass(frozen=True)
class Experiment:
    """The runs of one spec but for its seeds, in the order of the seeds; at least one."""

    records: tuple[Record, ...]

    @property
    def spec(self) -> RunSpec:
        """Of the first seed."""
        return self.records[0].spec

    @cached_property
    def name(self) -> str:
        """As tables have it."""
        return cells.name(cells.row_key(self.spec))

    @cached_property
    def conditions(self) -> dict[str, Any]:
        """What it was made under, by the names of the command line.

        Every field of the spec that is no method, version, setting or seed. One that is tested on HR has neither scale
        nor degradation: None, which stands for any.
        """
        return cells.fields(self.spec)

    @cached_property
    def words(self) -> dict[str, Any]:
        """What a name may say of it: conditions, the method's version and its settings."""
        return self.conditions | {"version": self.spec.version} | dict(self.spec.config)

    @property
    def epochs_in_weights(self) -> int:
        """Its budget, the epochs of the run it started from included."""
        return self.cell.epochs

    @property
    def cell(self) -> Cell:
        """Its score over seeds."""
        return Cell(self.records)


def differences(one: Experiment, other: Experiment) -> dict[str, tuple[Any, Any]]:
    """The conditions that two experiments do not share: name -> the value of each."""
    both = {key: (value, other.conditions[key]) for key, value in one.conditions.items()}
    return {
        key: values
        for key, values in both.items()
        if values[0] != values[1] and not (key in SERVES_ALL and None in values)
    }


def find(name: str, records: Iterable[Record], shared: Mapping[str, Any] | None = None) -> list[Experiment]:
    """The experiments that a name may mean, one or more.

    shared: conditions that hold beside those that the name says. An id means the experiment of its run; a method, the
    newest version of each. Raises UserError, naming the nearest, where there is none.
    """
    known = list(records)
    method, said = _parse(name)
    of_method = [record for record in known if record.spec.method == method]
    with_id = [record for record in known if record.id.startswith(method)]
    if not of_method and not with_id:
        raise unknown("method or run", method, sorted({record.spec.method for record in known}))
    if all(record.restores for record in of_method or with_id):
        raise UserError(f"'{name}' names SR nets, which recognise nothing; see 'lrbench table sr'")
    if of_method:
        found = _newest(_group(of_method))
    else:
        methods, ids = {record.spec.method for record in with_id}, {record.id for record in with_id}
        grouped = _group(record for record in known if record.spec.method in methods and not record.restores)
        found = [one for one in grouped if ids & {record.id for record in one.records}]
    for key, value in (dict(shared or {}) | said).items():
        found = _with(method, key, value, found)
    return found


def one(name: str, records: Sequence[Record], shared: Mapping[str, Any] | None = None) -> Experiment:
    """The experiment that a name means: of several, that of today's protocol whose unsaid settings have their defaults.

    Raises UserError, listing them, where that does not leave one.
    """
    found = find(name, records, shared)
    found = [experiment for experiment in found if _of_today(experiment)] or found
    found = [experiment for experiment in found if _plain(name, experiment)] or found
    if len(found) > 1:
        raise _ambiguous(name, found)
    return found[0]


def two(
    first: str, second: str, records: Sequence[Record], shared: Mapping[str, Any] | None = None
) -> tuple[Experiment, Experiment]:
    """The experiments that two names mean: of several, those that were made under the same conditions as the other.

    Of those the ones of today's protocol, then as `one`. Raises UserError, listing them, where that does not leave one
    of each.
    """
    names = (first, second)
    found = [find(name, records, shared) for name in names]
    pairs = [(mine, its) for mine in found[0] for its in found[1] if mine is not its and mine != its]
    if not pairs:
        raise UserError(f"'{first}' and '{second}' name the same experiment, {found[0][0].name}")
    pairs = [pair for pair in pairs if not differences(*pair)] or pairs
    pairs = [pair for pair in pairs if all(map(_of_today, pair))] or pairs
    for side in (0, 1):
        pairs = [pair for pair in pairs if _plain(names[side], pair[side])] or pairs
    for side in (0, 1):
        candidates = list({pair[side].records[0].id: pair[side] for pair in pairs}.values())
        if len(candidates) > 1:
            raise _ambiguous(names[side], candidates)
    return pairs[0]


def _ambiguous(name: str, candidates: Sequence[Experiment]) -> UserError:
    """The error of a name that means several experiments: says what tells them apart."""
    keys = list(dict.fromkeys(key for one in candidates for key in one.words))
    differing = [key for key in keys if len({_text(one.words.get(key)) for one in candidates}) > 1]
    said = [" ".join(f"{key}={_text(one.words[key])}" for key in differing if key in one.words) for one in candidates]
    shown = sorted(
        text if text and said.count(text) == 1 else f"{text} {one.records[0].id}".strip()
        for text, one in zip(said, candidates, strict=True)
    )
    more = f"; and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return UserError(f"'{name}' may mean {len(shown)} experiments; say which: {'; '.join(shown[:SHOWN])}{more}")


def _parse(name: str) -> tuple[str, dict[str, Any]]:
    """A method or id and what is said of it; a value is JSON where it reads as JSON, else text."""
    first, *pairs = re.split(r"\s+(?=[\w-]+=)", name.strip())
    said = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        try:
            said[key.replace("-", "_")] = json.loads(value)
        except ValueError:
            said[key.replace("-", "_")] = value
    return first, said


def _with(name: str, key: str, value: Any, found: Sequence[Experiment]) -> list[Experiment]:
    """The experiments of which something is as it was said. Raises UserError where there is none."""
    known = list(dict.fromkeys(key for one in found for key in one.words))
    if key not in known:
        raise UserError(f"{name} has no setting or condition '{key}'; {did_you_mean(key, known)}")
    wanted = (value, None) if key in SERVES_ALL else (value,)
    kept = [one for one in found if key in one.words and (one.words[key] in wanted or _text(one.words[key]) == value)]
    if not kept:
        there = sorted({_text(one.words[key]) for one in found if key in one.words})
        raise UserError(f"there is no run of {name} with {key}={_text(value)}; {did_you_mean(_text(value), there)}")
    return kept


def _text(value: Any) -> str:
    """A value as a name says it."""
    return ALL if value is None else value if isinstance(value, str) else json.dumps(value)


def _group(records: Iterable[Record]) -> list[Experiment]:
    variants: dict[str, list[Record]] = {}
    for record in records:
        if not record.restores:
            variants.setdefault(cells.variant(record.spec), []).append(record)
    return [Experiment(tuple(sorted(runs, key=lambda record: record.spec.seed))) for runs in variants.values()]


def _newest(found: Sequence[Experiment]) -> list[Experiment]:
    """Of experiments that differ in a version alone, the one that was finished last, as in tables."""
    newest: dict[str, Experiment] = {}
    for one in sorted(found, key=lambda one: max(map(cells.finished, one.records))):
        told_apart_by = [one.conditions, dict(one.spec.config), dict(one.spec.fingerprint)]
        newest[json.dumps(told_apart_by, sort_keys=True)] = one
    return list(newest.values())


def _of_today(experiment: Experiment) -> bool:
    """Whether it was made under today's protocol."""
    return experiment.spec.protocol == PROTOCOL


def _plain(name: str, experiment: Experiment) -> bool:
    """Whether every setting that the name does not say has its default."""
    said, defaults = _parse(name)[1], cells.default_config(experiment.spec.method)
    return all(defaults.get(key) == value for key, value in experiment.spec.config.items() if key not in said)
