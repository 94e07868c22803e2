"""Finished runs as reports and training see them: of the store's own folder, and of others read beside it.

A run is taken from the store's own folder, and otherwise from the first of the others that has it: runs that are
shipped with the project, or a colleague's. Nothing is ever written into those.

`get` reads every file of a run and checks it. `contents` and `records` check what each record.json says; the other
files of a run are checked when they are read, by `curve`, `predictions`, `right` and `weights`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import ValidationError

from lrbench.errors import RunError
from lrbench.spec.record import Record
from lrbench.spec.runspec import RunSpec
from lrbench.store.record_file import Content
from lrbench.store.runs import CURVE, PREDICTIONS, WEIGHTS, Runs

CLASSES = "predicted_classes"


class Finished:
    """Reads the finished runs of one folder, and of others beside it. `warn` is told of what is damaged."""

    def __init__(
        self,
        root: Path,
        warn: Callable[[str], None] = lambda message: None,
        shown: Collection[str] | None = None,
        others: Sequence[Path] = (),
    ) -> None:
        """shown: the ids that `contents` and `records` are confined to; None for all. others: read, never written."""
        self.root, self.warn, self.shown, self.others = root, warn, shown, tuple(others)
        self._own = Runs(root, warn, own=True)
        self._places = [self._own, *(Runs(other, warn, own=False) for other in self.others)]
        self._found: dict[str, tuple[Runs, dict[str, str]]] = {}  # run -> where it was read, and its files' checksums
        self._right: dict[str, tuple[np.ndarray, int]] = {}  # predictions' checksum -> a bit per image, how many

    def only(self, ids: Collection[str]) -> Self:
        """The same store, whose `contents` and `records` are those of some runs."""
        return type(self)(self.root, self.warn, frozenset(ids), self.others)

    def get(self, spec: RunSpec, weights: bool = False) -> Record | None:
        """The finished run of a spec, or None; with `weights`, only one whose weights are there too.

        A damaged run is named, and counts as none; in the store's own folder it is set aside under another name.
        """
        for runs in self._places:
            if not runs.has(spec.id, WEIGHTS if weights else ""):
                continue
            content = runs.content(spec.id, whole=True)
            if content and (record := _validated(runs, content)):
                if not weights:
                    self._found[spec.id] = runs, record.files
                return record
        return None

    def contents(self) -> list[Content]:
        """What record.json says of every finished run, as JSON values, sorted by id; its own checksum is left out.

        Of an older run fields may be missing that came later. Damaged runs are set aside. Weights, curves and
        predictions are not read: there may be gigabytes of them.
        """
        found: dict[str, Content] = {}
        for runs in self._places:
            for run_id in runs.ids():
                wanted = self.shown is None or run_id in self.shown
                if wanted and run_id not in found and (content := runs.content(run_id)):
                    found[run_id] = content
                    self._found[run_id] = runs, content["files"]
        return [found[run_id] for run_id in sorted(found)]

    def records(self) -> list[Record]:
        """The same as objects, for those who train or look at specs."""
        found = [_validated(self._found[content["id"]][0], content) for content in self.contents()]
        return [record for record in found if record]

    def origin(self, run_id: str) -> Path | None:
        """Which of the other folders a run is taken from; None for the store's own. Raises RunError for no run."""
        runs, _ = self._known(run_id)
        return None if runs.own else runs.root

    def weights(self, run_id: str) -> bytes:
        """The weights of a run that `get(spec, weights=True)` returned: a safetensors file's content.

        Raises RunError where no folder has them, or they are not what was written.
        """
        for runs in self._places:
            if runs.has(run_id, WEIGHTS) and (content := runs.content(run_id)):
                return runs.file(run_id, WEIGHTS, content["files"].get(WEIGHTS))
        raise RunError(f"the weights of run {run_id} are not in {self.root}")

    def predictions(self, run_id: str) -> dict[str, np.ndarray]:
        """What the test showed, image by image, in the dataset's canonical order.

        `predicted` and `label` (n,) of a classifier; psnr, ssim, psnr_y, ssim_y (n,) of an SR net, and
        `restored`, its images of the first few. Raises RunError where there is no such run, or where the file is not
        as its record said.
        """
        with np.load(io.BytesIO(self._file(run_id, PREDICTIONS)), allow_pickle=False) as arrays:
            return dict(arrays)

    def right(self, run_id: str) -> np.ndarray:
        """Which test images a classifier got right: bool (n,), in the dataset's canonical order. Raises RunError."""
        checksum = self._known(run_id)[1][PREDICTIONS]
        if checksum not in self._right:
            shown = self.predictions(run_id)
            right = shown["predicted"] == shown["label"]
            self._right[checksum] = np.packbits(right), len(right)
        packed, count = self._right[checksum]
        return np.unpackbits(packed, count=count).view(bool)

    def curve(self, run_id: str) -> str:
        """The learning curve, CSV: one row per epoch. Raises RunError."""
        return self._file(run_id, CURVE).decode()

    def counted(self, records: Iterable[Record]) -> list[Record]:
        """The same records; those of older classifiers say, too, how many classes the network predicts.

        It is counted where no more than half of the images are right, as of a network that predicts one class.
        """
        return [self._counted(record) for record in records]

    def _counted(self, record: Record) -> Record:
        if record.restores or CLASSES in record.metrics or record.top1 > 50:
            return record
        classes = len(np.unique(self.predictions(record.id)["predicted"]))
        return record.model_copy(update={"metrics": {**record.metrics, CLASSES: classes}})

    def _file(self, run_id: str, name: str) -> bytes:
        runs, checksums = self._known(run_id)
        return runs.file(run_id, name, checksums.get(name))

    def _known(self, run_id: str) -> tuple[Runs, dict[str, str]]:
        """Where a run was read, or else is found now, and the checksums of its files. Raises RunError."""
        if run_id not in self._found:
            for runs in self._places:
                if runs.has(run_id) and (content := runs.content(run_id)):
                    self._found[run_id] = runs, content["files"]
                    break
            else:
                raise RunError(f"there is no run {run_id} in {self.root}")
        return self._found[run_id]


def _validated(runs: Runs, content: Content) -> Record | None:
    """The record as an object; None, and a warning, where its values are not those of this version."""
    try:
        return Record.model_validate(content)
    except ValidationError:
        runs.leave_out(content["id"])
        return None
