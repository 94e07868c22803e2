"""Experiments by name: which runs a user means by "dfd lam=0.5 width=0.25".

A name is a method, or the id of a run or the beginning of one; behind it settings of the method and conditions of the
run. All seeds are meant: the rows of the frame that share its column `experiment`.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lrbench.errors import UserError, did_you_mean, few, unknown
from lrbench.method import naming
from lrbench.report import frame
from lrbench.report.frame import CONDITIONS, FAILED, ON_LR
from lrbench.report.ways import finished
from lrbench.spec import PROTOCOL

LISTED = 4  # experiments that an error names one by one
ALL = "all"  # what a limit is called where there is none
COLUMNS = ["dataset", "scale", "degradation", "backbone", "width", *CONDITIONS, "precision"]
SHORTEST = 6  # characters of an id: with fewer, a word that is misspelt may be the beginning of some id
MADE_UNDER = {name.rpartition(".")[2]: name for name in COLUMNS if name != "content"}  # condition -> column


def find(names: Sequence[str], results: pd.DataFrame, shared: Mapping[str, Any] | None = None) -> list[pd.DataFrame]:
    """The runs, by seed, of the experiment that each of one or two names means. shared: conditions of all of them.

    Of several candidates those made under the same conditions as the other's, then those of today's protocol, then
    those that hold no image out, then those whose unsaid settings have their defaults. Raises UserError where there is
    none, naming the nearest, and where that leaves several, saying what tells them apart.
    """
    found = [_candidates(name, results, shared or {}) for name in names]
    chosen = [
        one
        for one in itertools.product(*(candidates.to_dict("records") for candidates in found))
        if len({run["experiment"] for run in one}) == len(names)
    ]
    if not chosen:
        raise UserError(f"{' and '.join(map(repr, names))} name the same experiment, {found[0].iloc[0]['name']}")
    chosen = [one for one in chosen if not differences(one[0]["conditions"], one[-1]["conditions"])] or chosen
    chosen = [one for one in chosen if all(run["protocol"] == PROTOCOL for run in one)] or chosen
    chosen = [one for one in chosen if all(run["select"] == "none" for run in one)] or chosen
    for side in range(len(names)):
        chosen = [one for one in chosen if one[side]["plain"]] or chosen
    meant = [{one[side]["experiment"] for one in chosen} for side in range(len(names))]
    for name, candidates, experiments in zip(names, found, meant, strict=True):
        if len(experiments) > 1:
            raise _ambiguous(name, candidates[candidates["experiment"].isin(experiments)])
    ended = results[results["status"] != FAILED].sort_values("seed")
    return [ended[ended["experiment"].isin(experiments)] for experiments in meant]


def conditions(run: pd.Series) -> dict[str, Any]:
    """What a run was made under, by the names of the command line; method, version, settings and seed are left out.

    One that is tested on HR images has neither scale nor degradation: None, which stands for any.
    """
    return {name: _said(run[column]) for name, column in MADE_UNDER.items()}


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The `conditions` that two runs do not share: name -> the value of each."""
    both = {name: (value, other[name]) for name, value in one.items()}
    return {name: pair for name, pair in both.items() if pair[0] != pair[1] and not (name in ON_LR and None in pair)}


def text(value: Any) -> str:
    """A value as a name has it; whole numbers without decimals."""
    value = value if isinstance(value, list | dict) else _said(value)
    return ALL if value is None else value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _said(value: Any) -> Any:
    """A value of the frame; None where there is none."""
    value = None if pd.isna(value) else value.item() if isinstance(value, np.generic) else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _candidates(name: str, results: pd.DataFrame, shared: Mapping[str, Any]) -> pd.DataFrame:
    """The experiments that a name may mean, at least one: the first run of each; of a method's versions the newest.

    With its `conditions`, and whether it is `plain`: has defaults where the name says nothing of a setting.
    """
    method, *pairs = re.split(r"\s+(?=[\w-]+=)", name.strip())
    ended = results[results["status"] != FAILED].sort_values("seed")
    named = ended[ended["method"] == method]
    with_id = ended[ended["id"].str.startswith(method) & (len(method) >= SHORTEST)]
    if not len(named) and not len(with_id):
        raise unknown("method or run", method, sorted(ended["method"].unique()))
    meant = frame.classifiers(named if len(named) else with_id)
    if not len(meant):
        raise UserError(f"'{name}' names SR nets, which recognise nothing; see 'lrbench table sr'")
    if len(named):
        in_time = meant.loc[finished(meant).sort_values(kind="stable").index]
        meant = in_time.drop_duplicates(["config", "content", *MADE_UNDER.values()], keep="last")
    found = ended[ended["experiment"].isin(meant["experiment"])].drop_duplicates("experiment")
    own = {key.replace("-", "_"): naming.parsed(value) for key, _, value in (pair.partition("=") for pair in pairs)}
    for key, value in {**shared, **own}.items():
        found = found[_fits(found, method, key, value)]
    usual = frame.defaults(results)
    settings = [(usual.get(run.method, {}), json.loads(run.config)) for run in found.itertuples()]
    plain = [all(key in own or usual.get(key) == config[key] for key in config) for usual, config in settings]
    return found.assign(plain=plain, conditions=[conditions(run) for _, run in found.iterrows()])


def _words(found: pd.DataFrame) -> dict[str, pd.Series]:
    """What a name may say of experiments, conditions, version and settings -> the value of each, missing where none."""
    configs = [{key: text(value) for key, value in json.loads(config).items()} for config in found["config"]]
    said = {name: found[column].map(text) for name, column in (MADE_UNDER | {"version": "version"}).items()}
    return {**said, **dict(pd.DataFrame(configs, found.index).items())}


def _fits(found: pd.DataFrame, method: str, key: str, value: Any) -> pd.Series:
    """Of which experiments something is as it was said. Raises UserError where that is none."""
    words, wanted = _words(found), text(value)
    if key not in words:
        raise UserError(f"{method} has no setting or condition '{key}'; {did_you_mean(key, words)}")
    fits = words[key].isin([wanted, ALL] if key in ON_LR else [wanted])
    if not fits.any():
        nearest = did_you_mean(wanted, sorted(words[key].dropna().unique()))
        raise UserError(f"there is no run of {method} with {key}={wanted}; {nearest}")
    return fits


def _ambiguous(name: str, found: pd.DataFrame) -> UserError:
    """The error of a name that means several experiments: says what tells them apart, of many each value once."""
    words = pd.DataFrame({key: one for key, one in _words(found).items() if one.nunique(dropna=False) > 1}, found.index)
    if len(found) > LISTED and len(words.columns):
        values = [f"{key}={few(sorted(words[key].dropna().unique()), between='|')}" for key in words]
        return UserError(f"'{name}' may mean {len(found)} experiments; say which: {'; '.join(values)}")
    told = [" ".join(f"{key}={value}" for key, value in run.dropna().items()) for _, run in words.iterrows()]
    shown = sorted(
        one if one and told.count(one) == 1 else f"{one} {run}".strip()
        for one, run in zip(told, found["id"], strict=True)
    )
    return UserError(f"'{name}' may mean {len(shown)} experiments; say which: {few(shown, between='; ')}")
