"""The table of restoration quality: every SR net in the store beside plain enlargement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from lrbench.method import naming
from lrbench.report import cells
from lrbench.report.formats import DASH, Sheet
from lrbench.report.stats import Summary, summarise
from lrbench.spec.recipes import NONE
from lrbench.spec.record import Record
from lrbench.spec.runspec import RunSpec

MEASURES = {
    "psnr": ("PSNR RGB (dB)", 2),
    "ssim": ("SSIM RGB", 4),
    "psnr_y": ("PSNR Y (dB)", 2),
    "ssim_y": ("SSIM Y", 4),
}
BICUBIC = "bicubic_"
TITLE = "Restoration quality"
HEAD = ["", "trained", *(title for title, _ in MEASURES.values())]


@dataclass(frozen=True, order=True)
class Test:
    """What is restored from what: SR nets are compared within one of these only, whatever they were trained on."""

    dataset: str
    content: str  # names the data set's content where one name has stood for several; else empty
    lr_side: int
    side: int
    degradation: str
    test_images: int

    def __str__(self) -> str:
        sizes = f"{self.lr_side}x{self.lr_side} to {self.side}x{self.side}"
        content = f", {self.dataset} with content {self.content}" if self.content else ""
        return f"{self.dataset} {sizes}, {self.degradation}, {self.test_images:,} test images{content}"


def sheets(records: Iterable[Record], failures: Iterable[tuple[RunSpec, str]] = ()) -> list[Sheet]:
    """A table for each test that SR nets were put to; one without lines where there is none.

    failures: runs that failed, and why: the SR nets among them are named below the table that misses them.
    """
    failed = [(spec, why) for spec, why in failures if spec.backbone == NONE]
    return [_sheet(test, experiments, failed) for test, experiments in group(records).items()] or [_empty(failed)]


def group(records: Iterable[Record]) -> dict[Test, list[list[Record]]]:
    """The SR nets among the records: test -> experiments, each a list of its seeds."""
    nets = sorted((r for r in records if r.restores), key=lambda r: (r.spec.method, r.spec.seed, r.id))
    changed = cells.changed(nets)
    found: dict[Test, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in nets:
        found[_test(record, changed)][cells.variant(record.spec)].append(record)
    return {test: list(found[test].values()) for test in sorted(found)}


def _test(record: Record, changed: Collection[str]) -> Test:
    spec, lr_side = record.spec, record.data.side // (record.spec.scale or 1)
    side, content = lr_side * int(str(spec.config["sr_scale"])), cells.content(spec) if spec.dataset in changed else ""
    return Test(spec.dataset, content, lr_side, side, str(spec.degradation), record.data.test_images)


def training(record: Record) -> str:
    """How an SR net was trained, in words: the epochs of all stages, the pairs of the last."""
    recipe, epochs = cells.fields(record.spec)["recipe"], record.metrics["epochs_in_weights"]
    selected = ", best epoch by validation" if record.metrics.get("best_epoch") else ""
    plural = "s" * (epochs != 1)
    pairs, precision = f"{record.data.train_images:,} pairs", record.spec.precision
    return f"{recipe}, {epochs} epoch{plural}, {pairs}, {precision}{selected}"


def labels(experiments: Sequence[Sequence[Record]]) -> list[str]:
    """A name for each of several experiments, which says how it was trained where two would have one name."""
    rows = _nets(experiments)
    names = [row.label for row in rows]
    return [f"{row.label} ({row.training})" if names.count(row.label) > 1 else row.label for row in rows]


def _nets(experiments: Sequence[Sequence[Record]]) -> list[_Row]:
    rows = [_Row.net(found) for found in experiments]
    shown = [(row.label, row.training) for row in rows]
    return [  # what differs is a version, or a run that was needed
        replace(row, label=f"{row.label} [{row.records[0].id}]") if shown.count((row.label, row.training)) > 1 else row
        for row in rows
    ]


def _same_test(one: RunSpec, other: RunSpec) -> bool:
    return all(
        getattr(one, name) == getattr(other, name) for name in ("dataset", "fingerprint", "degradation", "scale")
    ) and (one.config["sr_scale"] == other.config["sr_scale"])


def _about_failed(failed: Iterable[tuple[RunSpec, str]]) -> list[str]:
    return [f"Failed, and missing here: {naming.described(spec)}: {why}." for spec, why in failed]


def _sheet(test: Test, experiments: Sequence[Sequence[Record]], failed: Sequence[tuple[RunSpec, str]]) -> Sheet:
    rows = [_Row.bicubic(experiments[0][0]), *_nets(experiments)]
    notes = [
        "Means over the test images, rounded to 8 bits, then mean ± sample standard deviation over seeds "
        "(number of seeds). RGB: the whole image. "
        f"Y: luma of BT.601, without {test.side // test.lr_side} pixels at each border.",
        "bicubic: LR enlarged by the degradation protocol's own way up, without any network.",
        "Trained: the epochs of all stages, and the pairs of the last one.",
    ]
    if any(DASH in row.line()[2:] for row in rows):
        from lrbench.train.tasks import WINDOW  # here, not above: it brings torch

        notes.append(f"{DASH}: the images are too small; SSIM's window has {WINDOW} pixels.")
    notes += _about_failed((spec, why) for spec, why in failed if _same_test(spec, experiments[0][0].spec))
    return Sheet(
        TITLE,
        str(test),
        HEAD,
        [row.line() for row in rows],
        notes,
        [row.flat(test) for row in rows],
    )


@dataclass(frozen=True)
class _Row:
    label: str
    method: str | None
    config: str | None
    training: str | None
    measures: dict[str, Summary | None]
    records: tuple[Record, ...]

    @classmethod
    def bicubic(cls, record: Record) -> _Row:
        measures = {name: _over([record], BICUBIC + name) for name in MEASURES}
        return cls("bicubic", None, None, None, measures, ())

    @classmethod
    def net(cls, records: Sequence[Record]) -> _Row:
        key = cells.row_key(records[0].spec)
        measures = {name: _over(records, name) for name in MEASURES}
        return cls(cells.name(key), key.method, key.config, training(records[0]), measures, tuple(records))

    def line(self) -> list[str]:
        values = []
        for name, (_, digits) in MEASURES.items():
            if self.records:
                values.append(cells.scores(self.records, name, digits))
            else:  # of plain enlargement, which has no seed
                summary = self.measures[name]
                values.append(DASH if summary is None else f"{summary.mean:.{digits}f}")
        return [self.label, self.training or DASH, *values]

    def flat(self, test: Test) -> dict[str, object]:
        numbers: dict[str, float | None] = {}
        for name, summary in self.measures.items():
            numbers[f"{name}_mean"] = None if summary is None else round(summary.mean, 5)
            numbers[f"{name}_sd"] = None if summary is None or summary.sd is None else round(summary.sd, 5)
        about = {"row": self.label, "method": self.method, "config": self.config}
        first = self.records[0] if self.records else None
        trained = {
            "training": self.training,
            "epochs_in_weights": first and first.metrics["epochs_in_weights"],
            "train_images": first and first.data.train_images,
        }
        diverged = sum(record.diverged for record in self.records)
        seeds = {
            "n": len(self.records) - diverged,
            "diverged": diverged,
            "seeds": " ".join(str(record.spec.seed) for record in self.records),
        }
        runs = {"runs": " ".join(record.id for record in self.records)}
        return {"table": TITLE, **vars(test), **about, **trained, **numbers, **seeds, **runs}


def _over(records: Sequence[Record], name: str) -> Summary | None:
    kept = [record for record in records if not record.diverged]
    values = [value for record in kept if (value := record.metrics.get(name)) is not None]
    return summarise(values) if values else None


def _empty(failed: Sequence[tuple[RunSpec, str]]) -> Sheet:
    note = "No SR net has been run yet; 'lrbench methods' lists them."
    return Sheet(TITLE, "no run yet", HEAD, [], [note, *_about_failed(failed)], [])
