"""The Python interface: what the command line does, for notebooks and scripts.

    import lrbench as lr

    runs = lr.run("dfd", "cifar10", scale=4, preset="mini", seeds=range(3), lam=0.5)
    lr.table(1); lr.leaderboard(); lr.compare("dfd lam=0.5", "lr-baseline"); lr.plot("fig2")
    net = lr.load(runs["id"][0])

Whatever is wrong with what was asked raises `lr.Error`, with a message of one line.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrbench.data.datasets import data_root
from lrbench.errors import UserError, unknown
from lrbench.plan import presets
from lrbench.spec.recipes import for_backbone
from lrbench.store import Store

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from torch import nn

    from lrbench.execute.progress import Progress
    from lrbench.execute.session import Request
    from lrbench.method import Method
    from lrbench.report.formats import Tables
    from lrbench.report.versus import Versus

NONE = "none"  # in place of a folder of baselines: none is read
RESULTS = Path("results/runs")  # below the current folder, unless $LRBENCH_RESULTS says otherwise
SHIPPED = Path(__file__).resolve().parents[1] / "results" / "records"  # of the checkout, where it is one
Folder = str | os.PathLike[str] | None
Folders = Iterable[str | os.PathLike[str]] | None
Warn = Callable[[str], None] | None


def run(
    method: str | type[Method],
    dataset: str,
    *,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    results: Folder = None,
    baselines: Folders = None,
    data: Folder = None,
    progress: Progress | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Train and test a method, and first the runs that it needs; what is in the store is reused.

    method: its name, or a class, such as one that was defined in a cell of a notebook. options: those of `lrbench run`
    (scale, backbone, width, seeds, recipe, epochs, ...) and the method's settings (lam=0.5), which may stand in
    `settings` too, where one has an option's name. Returns a frame with a row per run, as `results` does.
    """
    from lrbench.execute.session import run as carry_out
    from lrbench.report.frame import frame

    options |= {"settings": settings, "results": results, "baselines": baselines, "data": data}
    return frame(carry_out(request(method, dataset, preset, **options), progress))


def request(method: str | type[Method], dataset: str, preset: str | None = None, **options: Any) -> Request:
    """What `run` and `lrbench run` ask for. options: of Request and the method; those given override the preset's."""
    from lrbench.execute.session import Request
    from lrbench.method import registry

    registry.add_drafts([*options.get("plugins", ()), *([] if isinstance(method, str) else [method])])
    cls = registry.method(method if isinstance(method, str) else method.name)
    known = {field.name for field in fields(Request)}
    words = known | cls.Config.model_fields.keys()
    if wrong := [name for name in options if name not in words]:
        raise unknown(f"option or setting of {cls.name}", wrong[0], sorted(words))
    extra = {name: options.pop(name) for name in list(options) if name not in known}
    of_preset = presets.preset(preset) if preset else {}
    chosen = {**of_preset, **options}
    seeds = options.get("seeds", range(of_preset.get("seeds", 1)))
    chosen |= {
        "seeds": (seeds,) if isinstance(seeds, int) else tuple(dict.fromkeys(seeds)),
        "width": for_backbone(chosen.get("width", 1.0), chosen.get("backbone", "resnet18")),
        "settings": {**(options.get("settings") or {}), **extra},
        "cap_limits": "limit_train" in of_preset and "limit_train" not in options,
        "results": results_folder(options.get("results")),
        "baselines": tuple(baseline_folders(options.get("baselines"))),
        "data": _path(options.get("data")),
    }
    return Request(cls.name, dataset, **chosen)


def results(folder: Folder = None, baselines: Folders = None) -> pd.DataFrame:
    """All results as a frame with a row per run, whose columns lrbench.report.frame describes.

    folder: of the runs; $LRBENCH_RESULTS or results/runs where None. baselines: stores that are read beside it and
    never written; where None those of $LRBENCH_BASELINES, or the records that ship with the checkout of lrbench.
    """
    from lrbench.report.frame import frame

    return frame(open_store(folder, baselines))


def table(
    name: str | int | None = None, results: Folder = None, baselines: Folders = None, warn: Warn = None
) -> Tables:
    """A table by name: a published one, leaderboard, sr, tuned or claims; all published ones where None."""
    from lrbench.report.frame import frame
    from lrbench.report.tables import tables

    store = open_store(results, baselines, warn)
    return tables(None if name is None else str(name), frame(store), store.right, store.warn)


def leaderboard(results: Folder = None, baselines: Folders = None) -> Tables:
    """Every way of training that was run, best first, beside its control of equal budget."""
    return table("leaderboard", results, baselines)


def compare(
    first: str, second: str, results: Folder = None, baselines: Folders = None, warn: Warn = None, **conditions: Any
) -> Versus:
    """Two ways of training, as `lrbench compare` names them, over the seeds that both have. conditions: of the runs."""
    from lrbench.report import versus
    from lrbench.report.frame import frame

    store = open_store(results, baselines, warn)
    return versus.compare(first, second, frame(store), store, conditions)


def plot(
    name: str, results: Folder = None, baselines: Folders = None, data: Folder = None, warn: Warn = None, **options: Any
) -> Figure:
    """A figure by name: curves, or an installed one; options: see lrbench.report.figures.draw."""
    from lrbench.report import figures
    from lrbench.report.frame import frame

    store = open_store(results, baselines, warn)
    return figures.draw(name, frame(store), store, data_root(_path(data)), store.warn, **options)


def load(run: str, results: Folder = None, baselines: Folders = None, device: str = "cpu") -> nn.Module:
    """The trained network of a run, by its id or the beginning of one, frozen and in eval mode.

    It is called with images, float32 in [0, 1], (n, 3, S, S): for a classifier that is tested on LR images these are
    enlarged to the side S of its input (`net.context.side`) first; it returns logits (n, classes).
    """
    import torch

    from lrbench.spec import RunSpec
    from lrbench.train.build import load_frozen

    store = open_store(results, baselines)
    specs = {one["id"]: one["spec"] for one in store.contents()}
    ids = [one for one in specs if one.startswith(run)]
    if len(ids) != 1:
        raise unknown("run", run, specs) if not ids else UserError(f"'{run}' may mean {', '.join(ids)}; say which")
    try:
        return load_frozen(RunSpec.model_validate(specs[ids[0]]), store, torch.device(device))
    except FileNotFoundError as error:
        raise UserError(f"{error}; train it again with lr.run or 'lrbench run'") from error


def open_store(results: Folder = None, baselines: Folders = None, warn: Warn = None) -> Store:
    """The store of the user's runs, with those that are read beside it. warn: told of what is wrong with a run."""
    own = results_folder(results)
    others = [one for one in baseline_folders(baselines) if one.resolve() != own.resolve()]
    return Store(own, warn or warnings.warn, others=others)


def results_folder(given: Folder) -> Path:
    """The folder of the runs: `given`, else $LRBENCH_RESULTS, else results/runs."""
    return Path(given or os.environ.get("LRBENCH_RESULTS") or RESULTS).expanduser()


def baseline_folders(given: Folders) -> list[Path]:
    """The stores that are read beside the user's own: `given`, else $LRBENCH_BASELINES, else what the checkout ships.

    Raises UserError for a folder that is not there.
    """
    named = os.environ.get("LRBENCH_BASELINES")
    if not given and named is None:
        return [SHIPPED] if SHIPPED.is_dir() else []
    wanted = list(given or (named or "").split(os.pathsep))
    folders = [Path(one).expanduser() for one in wanted if str(one) not in ("", NONE)]
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"there is no folder '{folder}' of baselines")
    return folders


def _path(given: Folder) -> Path | None:
    return None if given is None else Path(given)
