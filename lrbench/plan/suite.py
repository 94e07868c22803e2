"""Suites: which runs to make and what to draw of them, as TOML. A plugin, or a user's own file.

    title = "Figure 2"
    include = ["table1"]            # other suites, or files beside this one; runs that they share are one run
    seeds = 3                       # 0, 1, 2; or a list of them
    tables = ["1"]                  # of `lrbench table`
    figures = ["fig2"]              # of `lrbench plot`

    [[runs]]                        # a grid: a list is an axis; names are those of `lrbench run`; a recipe may be a
                                    # file beside this one, a width a table: {alexnet = 1, default = 0.25}
    method = "dfd"
    dataset = "cifar10"
    backbone = ["alexnet", "vgg16", "resnet18"]
    set.lam = [0.1, 0.2, 0.5, 1, 2, 5, 10]

Suites that ship with a package are files that its entry points of the group `lrbench.suites` give the path of.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError, create_model

from lrbench.errors import UserError, did_you_mean, expanded, unknown
from lrbench.method import registry
from lrbench.plan.plan import Conditions, Protocol, capped, check_table, known_settings, plan
from lrbench.spec import recipes
from lrbench.spec.runspec import RunSpec

SUITES = "lrbench.suites"

Axis = BeforeValidator(lambda value: value if isinstance(value, list) else [value])


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


_kinds = get_type_hints(Conditions) | {"width": float | dict[str, float]}  # a table over backbones
_Axes: Any = create_model(
    "_Axes",
    __base__=_Strict,
    **{one.name: (Annotated[list[_kinds[one.name]], Axis], [one.default]) for one in fields(Conditions)},  # type: ignore
)


class Grid(_Axes):
    """Runs of every combination of its axes: the fields of Conditions, a width being also a table over backbones.

    A field that is left out has the default of `lrbench run`.
    """

    method: Annotated[list[str], Axis] = Field(min_length=1)
    dataset: Annotated[list[str], Axis] = Field(min_length=1)
    set: dict[str, Annotated[list[JsonValue], Axis, Field(min_length=1)]] = {}


class Suite(_Strict):
    """A file's content. `include` is resolved by `load`, which leaves it empty."""

    title: str
    include: list[str] = []
    seeds: int | list[int] = 1
    tables: list[str] = []
    figures: list[str] = []
    runs: list[Grid] = []


@dataclass(frozen=True)
class Overrides:
    """What the command line changes in every grid of a suite.

    fields: field of Grid -> its values. renamed: dataset -> the one to run on in its place. settings: of those
    methods that have them. seeds: how many, from 0.
    """

    fields: Mapping[str, list[Any]] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    seeds: int | None = None


def load(name: str, above: tuple[str, ...] = ()) -> Suite:
    """The suite of that name, or of that file where the name ends in .toml. Raises UserError.

    above: the files that include it.
    """
    path, installed = expanded(name), registry.installed(SUITES)
    if not recipes.is_file(name):
        if name not in installed:
            raise unknown("suite", name, [*installed, "FILE.toml"])
        place = registry.load(SUITES, "suite", name)
        if not isinstance(place, str | Path):
            raise UserError(f"suite '{name}' is not the path of a file")
        path = Path(place)
    if (place := str(path.resolve())) in above:
        raise UserError(f"suite {name} includes itself, through {' -> '.join(above)}")
    suite = _read(path)

    def found(names: list[str]) -> list[str]:
        return [str(_beside(path, name)) if recipes.is_file(name) else name for name in names]

    grids = [grid.model_copy(update={"recipe": found(grid.recipe)}) for grid in suite.runs]
    for one in suite.include:
        if not recipes.is_file(one) and one not in installed:
            raise UserError(f"{path}: include: {unknown('suite', one, [*installed, 'FILE.toml'])}")
    parts = [load(one, (*above, place)) for one in found(suite.include)]
    parts.append(suite.model_copy(update={"runs": grids}))
    tables = dict.fromkeys(table for part in parts for table in part.tables)
    figures = dict.fromkeys(figure for part in parts for figure in part.figures)
    runs = [grid for part in parts for grid in part.runs]
    return suite.model_copy(update={"include": [], "tables": [*tables], "figures": [*figures], "runs": runs})


def _beside(path: Path, name: str) -> Path:
    """The file that a suite names: from the suite's own folder or, if the suite is a link, from that of its target."""
    named = expanded(os.fsdecode(name.encode()))  # its bytes are UTF-8, as the suite is, whatever the locale
    places = [folder / named for folder in (path.parent, path.resolve().parent)]
    return next((place for place in places if place.exists()), places[0])


def _read(path: Path) -> Suite:
    try:
        return Suite.model_validate(recipes.read_toml(path))
    except ValidationError as error:
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")  # a mistyped name explains more
        place = ".".join(str(part) for part in first["loc"])
        why = f"{place}: {first['msg']}"
        if first["type"] == "extra_forbidden":
            known = Grid.model_fields if first["loc"][0] == "runs" else Suite.model_fields
            why = f"there is no field '{place}'; {did_you_mean(str(first['loc'][-1]), known)}"
        raise UserError(f"{path}: {why}") from error


def specs(
    suite: Suite,
    overrides: Overrides,
    protocol: Callable[[str], Protocol],
    note: Callable[[str], None],
) -> list[RunSpec]:
    """The specs of all runs of a suite, each once, those of the first seed first.

    protocol: dataset -> a protocol on it with the device's precision. A limit above what a dataset has is its
    whole; `note` is told so. Raises UserError.
    """
    named = {name for grid in suite.runs for name in grid.dataset}
    for name in overrides.renamed:
        if name not in named:
            raise UserError(f"this suite has no dataset '{name}' to replace; {did_you_mean(name, sorted(named))}")
    if not suite.runs:
        raise UserError(f"the suite '{suite.title}' has no runs; add a grid, [[runs]], or include another suite")
    fields_of = {name: values for name, values in overrides.fields.items() if name != "scale"}
    grids = [grid.model_copy(update=fields_of) for grid in _scaled(suite.runs, overrides.fields.get("scale", []))]
    known = known_settings((name for grid in grids for name in grid.method), overrides.settings)
    count = overrides.seeds or suite.seeds
    seeds = list(range(count)) if isinstance(count, int) else count
    if not seeds:
        raise UserError("there is nothing to run with no seed; the fewest are 1")
    found: dict[str, RunSpec] = {}
    told: set[str] = set()
    for seed, grid in itertools.product(seeds, grids):
        for values, settings in _points(grid):
            method, dataset = values.pop("method"), values.pop("dataset")
            own = {name: value for name, value in overrides.settings.items() if name in known[method]}
            base = _on(protocol, overrides.renamed.get(dataset, dataset), named)
            check_table("width", values["width"], values["backbone"])
            values["width"] = recipes.for_backbone(values["width"], values["backbone"])
            spec = plan(method, settings | own, capped(replace(base, seed=seed, **values), told.add))
            found.setdefault(spec.id, spec)
    for one in sorted(told):
        note(one)
    return list(found.values())


def _scaled(grids: list[Grid], wanted: list[Any]) -> list[Grid]:
    """The grids at the wanted scales; as they are where none is.

    Of a suite that names one of them the grids that name others are left out, since their settings may fit no other
    scale. A grid that names none, and all grids of a suite that names none of these, are run at what is wanted.
    """
    if not wanted:
        return grids

    def own(grid: Grid) -> list[Any]:
        return [scale for scale in grid.scale if scale in wanted] if "scale" in grid.model_fields_set else wanted

    narrows = any(own(grid) for grid in grids if "scale" in grid.model_fields_set)
    found = [(grid, own(grid) if narrows else wanted) for grid in grids]
    return [grid.model_copy(update={"scale": scales}) for grid, scales in found if scales]


def _on(protocol: Callable[[str], Protocol], dataset: str, named: set[str]) -> Protocol:
    """named: the datasets that the suite itself names."""
    try:
        return protocol(dataset)
    except UserError as error:
        if dataset not in named:
            raise
        raise UserError(f"{error}; or put another in its place: --dataset {dataset}=NAME") from error


def _points(grid: Grid) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every combination of a grid's axes: the fields, and the settings of the method."""
    axes = {name: getattr(grid, name) for name in ("method", "dataset", *(one.name for one in fields(Conditions)))}
    for point, settings in itertools.product(itertools.product(*axes.values()), itertools.product(*grid.set.values())):
        yield dict(zip(axes, point, strict=True)), dict(zip(grid.set, settings, strict=True))
