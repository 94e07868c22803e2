"""Records sorted into the cells of a table: what may be averaged or compared, and what may not."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from lrbench.method import naming
from lrbench.method.naming import in_epochs, network
from lrbench.report.stats import Summary, summarise
from lrbench.spec import recipes
from lrbench.spec.record import Record
from lrbench.spec.runspec import PROTOCOL, RunSpec

SELECTED = {
    "none": "final epoch",
    "best-epoch": "epoch chosen on held-out images",
    "val": "epoch chosen on held-out images",
    "held-out": "final epoch, validation images held out",
}
# fields of a spec: those that tell rows apart, and versions of one
ROW = ("backbone", "width", "method", "version", "config", "needs")
COLUMN = ("dataset", "fingerprint", "scale")
NOTED = ("precision",)  # differs within a table, and is named below it
SEEN = ("degradation",)  # what a run that is tested on HR does not have, beside a scale
_APART = (*ROW, *COLUMN, *NOTED, "seed")
_FLAT = sorted({*RunSpec.model_fields, "epochs", "batch_size", "content"} - {*_APART})


def fields(spec: RunSpec) -> dict[str, Any]:
    """What a run was made under: every field of its spec but those that say what was run, by its name.

    Of the recipe: its name and what differs from it, its epochs, its batch size.
    """
    first = ("dataset", "scale", *SEEN, "backbone", "width")
    left = [name for name in RunSpec.model_fields if name not in (*first, *ROW, "fingerprint", "seed", "protocol")]
    told = {name: getattr(spec, name) for name in (*first, *left, "protocol")}
    own = {
        "recipe": recipes.name_of(spec.recipe, spec.backbone),
        "epochs": spec.recipe.epochs,
        "batch_size": spec.recipe.batch_size,
    }
    return told | own


@dataclass(frozen=True)
class Conditions:
    """What all runs of one table share; the runs of two different ones never meet in it.

    That is every field of the spec that is neither a row, a column, noted, nor the seed: one that is added to the spec
    splits tables without a word here.
    """

    canonical: str  # JSON: name -> value

    @cached_property
    def values(self) -> dict[str, Any]:
        """By name; `content` names a data set's content where one name has stood for several."""
        found: dict[str, Any] = json.loads(self.canonical)
        return found

    @property
    def order(self) -> tuple[Any, ...]:
        """Tables stand by it: of the newest protocol first."""
        return -self.values["protocol"], self.canonical

    def __str__(self) -> str:
        left = dict(self.values)
        recipe, epochs, batch = (left.pop(name) for name in ("recipe", "epochs", "batch_size"))
        train, test = (_images(left.pop(name)) for name in ("limit_train", "limit_test"))
        words = [
            f"recipe {recipe}",
            in_epochs(epochs),
            f"batches of {batch}",
            f"{train} training and {test} test images",
            left.pop("degradation") or "on HR images",
            SELECTED[left.pop("select")],
        ]
        protocol, content = left.pop("protocol"), left.pop("content")
        words += [f"{name} {value}" for name, value in left.items() if value != RunSpec.model_fields[name].default]
        words += [content] if content else []
        return ", ".join(words) + (f", protocol {protocol} (today's is {PROTOCOL})" if protocol != PROTOCOL else "")

    def on_hr(self) -> Conditions:
        """Those of the HR runs that serve a table of these conditions."""
        return _conditions(self.values | dict.fromkeys(SEEN))


def flat(shared: Conditions | None) -> dict[str, Any]:
    """Conditions by flat names, as the long form of a table has them; None of each where there are none."""
    return dict(shared.values) if shared else dict.fromkeys(_FLAT)


def _conditions(values: Mapping[str, Any]) -> Conditions:
    return Conditions(json.dumps(values, sort_keys=True))


def _images(limit: int | None) -> str:
    return "all" if limit is None else f"{limit:,}"


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
    """What is compared: a method with its config (canonical JSON) on a backbone of some width."""

    backbone: str
    method: str
    config: str
    width: float = 1.0

    @property
    def network(self) -> str:
        """The backbone with its width where that is not 1."""
        return network(self.backbone, self.width)


@dataclass(frozen=True)
class Cell:
    """The runs of one row in one column: seeds of one experiment, some of which may have diverged.

    left_out: how many are of older versions, or of another precision.
    """

    records: tuple[Record, ...]
    left_out: int = 0
    others: tuple[Record, ...] = ()  # those left out that differ in their precision alone

    def at(self, precision: str) -> Cell:
        """The runs of a precision; those shown, where it has none of it."""
        same = tuple(record for record in (*self.records, *self.others) if record.spec.precision == precision)
        return Cell(same) if same else self

    @property
    def width(self) -> float:
        """Of the backbone."""
        return self.records[0].spec.width

    @property
    def kept(self) -> tuple[Record, ...]:
        """The runs that did not diverge."""
        return tuple(record for record in self.records if not record.diverged)

    @property
    def diverged(self) -> int:
        """How many runs diverged."""
        return len(self.records) - len(self.kept)

    @property
    def one_class(self) -> tuple[int, ...]:
        """The seeds whose network predicts one class, whatever the image."""
        return tuple(record.spec.seed for record in self.records if record.metrics.get("predicted_classes") == 1)

    @property
    def top1(self) -> Summary | None:
        """Over the seeds that did not diverge, in percent; None where all did. Not to be shown without `diverged`."""
        return summarise([record.top1 for record in self.kept]) if self.kept else None

    @property
    def text(self) -> str:
        """Such as "66.10 ± 0.30 (3)", "66.10 ± 0.30 (2 of 3; 1 diverged)" or "diverged (3)"."""
        return scores(self.records, "top1")

    @property
    def epochs(self) -> int:
        """Epochs that went into the weights, those of the run they started from included."""
        return max(int(record.metrics["epochs_in_weights"] or 0) for record in self.kept or self.records)


def scores(records: Sequence[Record], metric: str, digits: int = 2) -> str:
    """A score over the seeds that did not diverge; how many did is never left unsaid. A dash where none has it."""
    diverged = sum(record.diverged for record in records)
    values = [value for r in records if not r.diverged and (value := r.metrics.get(metric)) is not None]
    if not values:
        return f"diverged ({diverged})" if diverged else "-"
    text = summarise(values).text(digits)
    return text if not diverged else f"{text[:-1]} of {len(values) + diverged}; {diverged} diverged)"


Cells = dict[tuple[RowKey, Column], Cell]


def sort(records: Iterable[Record]) -> dict[Conditions, Cells]:
    """Conditions -> (row, column) -> cell. An HR run stands in every column of its data set."""
    lr: dict[Conditions, dict[tuple[RowKey, Column], list[Record]]] = defaultdict(lambda: defaultdict(list))
    hr: list[Record] = []  # seen by no degradation: one run serves them all
    records = list(records)
    twice = changed(records)
    for record in records:
        spec = record.spec
        if spec.scale is None:
            hr.append(record)
        else:
            lr[conditions(spec, twice)][row_key(spec), Column(spec.dataset, spec.scale)].append(record)
    places = _places(lr)
    for record in hr:
        own, dataset = conditions(record.spec, twice), record.spec.dataset
        for shared, column in places.get((own, dataset), [(own, Column(dataset, None))]):
            lr[shared][row_key(record.spec), column].append(record)
    ordered = sorted(lr, key=lambda shared: shared.order)
    return {shared: {key: _cell(found) for key, found in _by_key(lr[shared])} for shared in ordered}


def _places(lr: Mapping[Conditions, Collection[tuple[RowKey, Column]]]) -> dict[Any, list[tuple[Conditions, Column]]]:
    """Conditions and data set of an HR run -> the columns that it stands in."""
    places: dict[Any, list[tuple[Conditions, Column]]] = defaultdict(list)
    for shared, keys in lr.items():
        for column in {column for _, column in keys if column.scale}:
            places[shared.on_hr(), column.dataset].append((shared, column))
    return places


def _by_key(found: Mapping[tuple[RowKey, Column], list[Record]]) -> list[tuple[tuple[RowKey, Column], list[Record]]]:
    return sorted(found.items(), key=lambda item: repr(item[0]))  # as text: a column may have no scale


def changed(records: Iterable[Record]) -> set[str]:
    """The data sets of which one name has had several contents: imported again with other images."""
    contents = {(record.spec.dataset, content(record.spec)) for record in records}
    names = [dataset for dataset, _ in contents]
    return {dataset for dataset in names if names.count(dataset) > 1}


def conditions(spec: RunSpec, twice: Collection[str] = ()) -> Conditions:
    """The conditions that a run is made under. twice: data sets of which one name had several contents."""
    values = {name: value for name, value in fields(spec).items() if name not in _APART}
    named = f"{spec.dataset} with content {content(spec)}" if spec.dataset in twice else None
    return _conditions(values | {"content": named})


def comparable(one: Record, other: Record) -> bool:
    """Whether two runs may stand under one heading: same data, backbone and conditions, HR runs included."""
    same = all(getattr(one.spec, name) == getattr(other.spec, name) for name in ("dataset", "backbone", "width"))
    mine, its = conditions(one.spec), conditions(other.spec)
    return same and mine in (its, its.on_hr())


def content(spec: RunSpec) -> str:
    """Names the content of the data set that a run saw."""
    return _short(dict(spec.fingerprint))


def row_key(spec: RunSpec) -> RowKey:
    """The row that a run belongs to."""
    return RowKey(spec.backbone, spec.method, json.dumps(spec.config, sort_keys=True), spec.width)


def default_config(method: str) -> dict[str, Any]:
    """A method's config where nothing is set; empty where the method cannot be loaded."""
    return dict(naming.about(method).defaults or {})


def changes(row: RowKey) -> list[str]:
    """A row's settings that differ from its method's defaults."""
    return naming.changes(json.loads(row.config), naming.about(row.method))


def name(row: RowKey) -> str:
    """The method as tables call it, with the settings that differ from its defaults."""
    return " ".join([label(row.method), *changes(row)])


def label(method: str) -> str:
    """A method's name in tables."""
    return naming.about(method).label


def sees_hr(method: str) -> bool:
    """Whether a method is tested on HR images; False where it cannot be loaded."""
    return naming.about(method).tested_on == "hr"


@lru_cache(maxsize=1 << 15)  # many runs share a teacher
def variant(spec: RunSpec, without: tuple[str, ...] = ()) -> str:
    """What seeds of one experiment share: the spec without its seeds, and if asked without more fields, as a hash."""
    needs = {role: variant(need, without) for role, need in spec.needs.items()}
    return _short(spec.model_dump(mode="json", exclude={"seed", "needs", *without}) | {"needs": needs})


def unmet(failures: Iterable[tuple[RunSpec, str]], records: Iterable[Record]) -> list[tuple[RunSpec, str]]:
    """The failures of which no version of the method has finished the same run since."""
    done = {(variant(record.spec, ("version",)), record.spec.seed) for record in records}
    return [(spec, why) for spec, why in failures if (variant(spec, ("version",)), spec.seed) not in done]


def _cell(found: Sequence[Record]) -> Cell:
    """The runs of the newest version of an experiment: those of older ones are not averaged with them.

    Of several precisions that which most seeds have, then the first: one that is tried later replaces nothing.
    """
    newest = variant(max(found, key=finished).spec, NOTED)
    precisions: dict[str, list[Record]] = defaultdict(list)
    for record in found:
        if variant(record.spec, NOTED) == newest:
            precisions[variant(record.spec)].append(record)
    kept = min(precisions.values(), key=lambda records: (-len(records), min(map(finished, records))))
    others = [record for records in precisions.values() if records is not kept for record in records]
    return Cell(_by_seed(kept), len(found) - len(kept), _by_seed(others))


def finished(record: Record) -> str:
    """When a run was finished, as text that sorts by time."""
    return str(record.env.get("finished"))


def _by_seed(records: Iterable[Record]) -> tuple[Record, ...]:
    return tuple(sorted(records, key=lambda record: record.spec.seed))


def _short(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
