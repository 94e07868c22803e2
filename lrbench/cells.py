"""Records sorted into the cells of a table: what may be averaged or compared, and what may not."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lrbench import recipes, traits
from lrbench.record import Record
from lrbench.spec import PROTOCOL, RunSpec
from lrbench.stats import Summary, summarise

SELECTED = {
    "none": "final epoch",
    "val": "epoch chosen on a validation split",
    "held-out": "final epoch, validation images held out",
}


@dataclass(frozen=True, order=True)
class Conditions:
    """What all runs of one table share; the runs of two different ones never meet in it."""

    recipe: str
    epochs: int
    width: float
    train_images: str
    test_images: str
    degradation: str
    precision: str
    select: str
    protocol: int
    content: str  # names the data set's content where one name has stood for several; else empty

    def __str__(self) -> str:
        selected = SELECTED[self.select]
        return (
            f"recipe {self.recipe}, {self.epochs} epoch{'s' * (self.epochs != 1)}, width {self.width:g}, "
            f"{self.train_images} training and {self.test_images} test images, "
            f"{self.degradation}, {self.precision}, {selected}"
            + (f", version {self.protocol} of the harness" if self.protocol != PROTOCOL else "")
            + (f", {self.content}" if self.content else "")
        )


@dataclass(frozen=True, order=True)
class Column:
    """A data set at one resolution. `scale` is None for a data set of which only HR runs are there."""

    dataset: str
    scale: int | None

    def label(self, side: int) -> str:
        """Such as "cifar10 8x8", from the HR side in pixels."""
        size = side // (self.scale or 1)
        return f"{self.dataset} {size}x{size}"


@dataclass(frozen=True, order=True)
class RowKey:
    """What is compared: a method with its config (canonical JSON) on a backbone."""

    backbone: str
    method: str
    config: str


@dataclass(frozen=True)
class Cell:
    """The runs of one row in one column: seeds of one experiment. `left_out` are of older versions."""

    records: tuple[Record, ...]
    left_out: int

    @property
    def top1(self) -> Summary:
        """Over seeds, in percent."""
        return summarise([record.top1 for record in self.records])

    @property
    def epochs(self) -> int:
        """Epochs that went into the weights, those of the run they started from included."""
        return int(self.records[0].metrics["epochs_in_weights"] or 0)


Cells = dict[tuple[RowKey, Column], Cell]


def sort(records: Iterable[Record]) -> dict[Conditions, Cells]:
    """Conditions -> (row, column) -> cell. An HR run stands in every column of its data set."""
    lr: dict[Conditions, dict[tuple[RowKey, Column], list[Record]]] = defaultdict(lambda: defaultdict(list))
    hr: list[Record] = []  # seen by no degradation: one run serves them all
    records = list(records)
    twice = changed(records)
    for record in records:
        if record.spec.scale is None:
            hr.append(record)
        else:
            lr[conditions(record, twice)][row_key(record.spec), Column(record.spec.dataset, record.spec.scale)].append(
                record
            )
    places = _places(lr)
    for record in hr:
        own, dataset = conditions(record, twice), record.spec.dataset
        for shared, column in places.get((own, dataset), [(own, Column(dataset, None))]):
            lr[shared][row_key(record.spec), column].append(record)
    return {shared: {key: _cell(found) for key, found in _by_key(lr[shared])} for shared in sorted(lr)}


def _places(lr: Mapping[Conditions, Collection[tuple[RowKey, Column]]]) -> dict[Any, list[tuple[Conditions, Column]]]:
    """Conditions and data set of an HR run -> the columns that it stands in."""
    places: dict[Any, list[tuple[Conditions, Column]]] = defaultdict(list)
    for shared, keys in lr.items():
        for column in {column for _, column in keys if column.scale}:
            places[_on_hr(shared), column.dataset].append((shared, column))
    return places


def _by_key(found: Mapping[tuple[RowKey, Column], list[Record]]) -> list[tuple[tuple[RowKey, Column], list[Record]]]:
    return sorted(found.items(), key=lambda item: repr(item[0]))  # as text: a column may have no scale


def changed(records: Iterable[Record]) -> set[str]:
    """The data sets of which one name has had several contents: imported again with other images."""
    contents = {(record.spec.dataset, content(record.spec)) for record in records}
    names = [dataset for dataset, _ in contents]
    return {dataset for dataset in names if names.count(dataset) > 1}


def conditions(record: Record, twice: Collection[str] = ()) -> Conditions:
    """The conditions that a record was made under. twice: data sets of which one name had several contents."""
    spec = record.spec
    name = recipes.name_of(spec.recipe, spec.backbone)
    return Conditions(
        recipe=name if name != "custom" else f"custom {_short(spec.recipe.model_dump(mode='json'))}",
        epochs=spec.recipe.epochs,
        width=spec.width,
        train_images="all" if spec.limit_train is None else f"{spec.limit_train:,}",
        test_images="all" if spec.limit_test is None else f"{spec.limit_test:,}",
        degradation=spec.degradation or "-",
        precision=spec.precision,
        select=spec.select,
        protocol=spec.protocol,
        content=f"{spec.dataset} with content {content(spec)}" if spec.dataset in twice else "",
    )


def comparable(one: Record, other: Record) -> bool:
    """Whether two runs may stand under one heading: same data, backbone and conditions, HR runs included."""
    same = (one.spec.dataset, one.spec.backbone) == (other.spec.dataset, other.spec.backbone)
    return same and (conditions(one) == conditions(other) or conditions(one) == _on_hr(conditions(other)))


def content(spec: RunSpec) -> str:
    """Names the content of the data set that a run saw."""
    return _short(dict(spec.fingerprint))


def row_key(spec: RunSpec) -> RowKey:
    """The row that a run belongs to."""
    return RowKey(spec.backbone, spec.method, json.dumps(spec.config, sort_keys=True))


def default_config(method: str) -> dict[str, Any]:
    """A method's config where nothing is set; empty where the method cannot be loaded."""
    return dict(traits.of(method).defaults or {})


def changes(row: RowKey) -> list[str]:
    """A row's settings that differ from its method's defaults, as --set takes them: "lam=0.5".

    So are those of a field that is always to be shown: one whose `json_schema_extra` says {"shown": True}.
    """
    defaults, shown = default_config(row.method), traits.of(row.method).shown
    return [
        f"{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in json.loads(row.config).items()
        if key in shown or defaults.get(key) != value
    ]


def name(row: RowKey) -> str:
    """The method as tables call it, with the settings that differ from its defaults."""
    return " ".join([label(row.method), *changes(row)])


def label(method: str) -> str:
    """A method's name in tables."""
    return traits.of(method).label or method


def sees_hr(method: str) -> bool:
    """Whether a method is tested on HR images; False where it cannot be loaded."""
    return traits.of(method).view == "hr"


@lru_cache(maxsize=1 << 15)  # many runs share a teacher
def variant(spec: RunSpec) -> str:
    """What seeds of one experiment share: the spec without its seeds, as a hash."""
    needs = {role: variant(need) for role, need in spec.needs.items()}
    return _short(spec.model_dump(mode="json", exclude={"seed", "needs"}) | {"needs": needs})


def _cell(found: Sequence[Record]) -> Cell:
    """The runs of the newest version of an experiment: those of older ones are not averaged with them."""
    newest = variant(max(found, key=lambda record: str(record.env.get("finished"))).spec)
    kept = [record for record in found if variant(record.spec) == newest]
    return Cell(tuple(sorted(kept, key=lambda record: record.spec.seed)), len(found) - len(kept))


def _on_hr(shared: Conditions) -> Conditions:
    return Conditions(**{**vars(shared), "degradation": "-"})


def _short(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
