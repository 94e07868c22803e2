"""The Python interface: what the command line does, for notebooks and scripts.

    import lrbench as lr

    runs = lr.run("dfd", "cifar10", scale=4, preset="mini", seeds=range(3), lam=0.5)
    lr.table(1); lr.leaderboard(); lr.compare("dfd lam=0.5", "lr-baseline"); lr.plot("fig2")
    lr.reproduce("fig2", preset="mini", out="fig2")
    net = lr.load(runs["id"][0])

Whatever is wrong with what was asked raises `lr.Error`, with a message of one line.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import numpy as np
from pydantic import Field

from lrbench.checks import checked, instead, several
from lrbench.data.datasets import data_root
from lrbench.errors import RunError, UserError, expanded, few, unknown
from lrbench.plan import presets
from lrbench.spec.recipes import for_backbone
from lrbench.store import Store
from lrbench.store.store import CURVE, PREDICTIONS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from torch import nn

    from lrbench.execute.progress import Progress
    from lrbench.execute.schedule import Schedule
    from lrbench.execute.session import Ordered, Request
    from lrbench.method import Method
    from lrbench.report.formats import Tables
    from lrbench.report.versus import Versus
    from lrbench.spec import RunSpec

NONE = "none"  # in place of a folder of baselines: none is read
RESULTS = Path("results/runs")  # below the current folder, unless $LRBENCH_RESULTS says otherwise
SHIPPED = Path(__file__).resolve().parents[1] / "results" / "records"  # of the checkout, where it is one
SHOWN = (CURVE, PREDICTIONS)  # the files of a run that figures and the site show
MACHINE: dict[str, Any] = {  # the types of what trains a suite
    "executor": Literal["local", "ray"],
    "jobs": Annotated[int, Field(ge=1)],
    "address": str | None,
    "gpus": Annotated[float, Field(ge=0, le=1)] | None,
    "device": Literal["auto", "cpu", "cuda"],
    "precision": Literal["auto", "fp32", "bf16"],
    "capture": bool,
    "threads": str | int,
}
TABLE: dict[str, Any] = dict.fromkeys(("datasets", "backbones"), tuple[str, ...])  # the types of a table's options
FIGURE: dict[str, Any] = TABLE | {"methods": tuple[str, ...]}  # of a figure's
TABLE |= {"long": bool}
FIGURE |= {"settings": Mapping[str, Any], "scale": int, "sr_scale": int, "images": Annotated[int, Field(ge=1, le=16)]}
Folder = str | os.PathLike[str] | None
Folders = Folder | Iterable[str | os.PathLike[str]]
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

    options |= {"settings": settings, "results": results, "baselines": baselines, "data": data}
    asked = request(method, dataset, preset, **options)
    records = carry_out(asked, progress)
    found = rows([record.spec for record in records], Store(asked.results, others=asked.baselines))
    return found[found["id"].isin([record.id for record in records])].reset_index(drop=True)


def reproduce(suite: str, out: Folder = None, warn: Warn = None, **options: Any) -> pd.DataFrame:
    """Run a suite, by name or file, then write its tables and figures into the folder `out`, where one is named.

    options: those of `lrbench reproduce` (preset, seeds, datasets, scale, jobs, results, ...). Returns a frame with a
    row per run of the suite that is finished. Raises RunError, after all that can be run, where a run failed.
    """
    from lrbench.execute import session
    from lrbench.execute.schedule import State

    asked = ordered(suite, warn=warn, **options)
    folder = _folder("out", out)
    schedule = make(asked, folder)
    if schedule.count(State.FAILED):
        raise RunError(session.outcome(schedule).strip().replace("\n", "; "))
    return rows(asked.graph.specs.values(), asked.store)


def ordered(
    suite: str,
    preset: str | None = None,
    seeds: int | None = None,
    datasets: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    results: Folder = None,
    baselines: Folders = None,
    data: Folder = None,
    plugins: Sequence[str] = (),
    warn: Warn = None,
    **options: Any,
) -> Ordered:
    """The runs of a suite, and what they are trained with. datasets: NAME in place of the suite's, or OLD=NEW of one.

    options: of session.order, what trains them; others, such as scale, stand in place of the suite's, a value or
    several. Raises UserError, also for a table or figure of the suite's that there is not.
    """
    from lrbench.execute import session
    from lrbench.plan.plan import Conditions
    from lrbench.plan.suite import Overrides
    from lrbench.report import outputs

    own = [name for name in inspect.signature(ordered).parameters if name not in ("suite", "options", "warn")]
    known = [*own, "out", *MACHINE, *(one.name for one in dataclasses.fields(Conditions))]
    if wrong := [name for name in options if name not in known]:
        raise unknown("option of a suite", wrong[0], known)
    if seeds is not None and not (isinstance(seeds, int | np.integer) and seeds >= 1):
        raise UserError(f"seeds={seeds!r}: how many, from seed 0 on; the fewest are 1")
    machine = checked({name: options.pop(name) for name in MACHINE if name in options}, MACHINE)
    chosen = presets.preset(preset) if preset else {}
    fields = {name: [value] for name, value in chosen.items() if name != "seeds"}
    fields |= {name: list(several(value)) for name, value in options.items() if value not in (None, ())}
    named, renamed = instead(datasets)
    if named:
        fields["dataset"] = named
    overrides = Overrides(fields, renamed, dict(settings or {}), int(seeds) if seeds else chosen.get("seeds"))
    store = open_store(results, baselines, warn)
    found = session.order(suite, overrides, store, _folder("data", data), several(plugins), **machine)
    outputs.check(found.suite)
    return found


def make(asked: Ordered, out: Path | None) -> Schedule:
    """Train what is missing of a suite, then write its tables and figures into `out`, where one is named."""
    from lrbench.execute import session
    from lrbench.report import outputs
    from lrbench.store.files import check_writable

    if out:
        check_writable(out)  # before the training, not after it
    schedule = session.carry_out(asked)
    if out:
        outputs.write(
            asked.suite, set(asked.graph.specs), asked.store, out, asked.data, asked.store.warn, asked.renamed
        )
    return schedule


def rows(specs: Iterable[RunSpec], store: Store) -> pd.DataFrame:
    """The frame of some runs of a store and, before each, of those that it needed, where these are still there."""
    from lrbench.report.frame import frame

    ids = dict.fromkeys(one.id for spec in specs for one in spec.walk())
    found = frame(store, ids=ids).set_index("id", drop=False)
    return found.loc[[one for one in ids if one in found.index]].reset_index(drop=True)


def request(method: str | type[Method], dataset: str, preset: str | None = None, **options: Any) -> Request:
    """What `run` and `lrbench run` ask for. options: of Request and the method; those given override the preset's.

    Raises UserError for an option that there is not, and for a value of another type.
    """
    from lrbench.execute.session import Request
    from lrbench.method import registry

    types = get_type_hints(Request, include_extras=True)
    checked({"preset": preset}, {"preset": str | None})
    own = {name: options.pop(name) for name in list(options) if name not in types}  # settings of the method
    options |= {
        "dataset": dataset,
        "results": results_folder(options.get("results")),
        "baselines": baseline_folders(options.get("baselines")),
        "data": _folder("data", options.get("data")),
        "settings": {} if options.get("settings") is None else options["settings"],
    }
    if isinstance(seed := options.get("seeds"), int | np.integer) and not isinstance(seed, bool):
        raise UserError(f"seeds={seed}: say which, such as range({seed}) or [{seed}]")
    options = checked(options, types)
    registry.add_drafts([*options.get("plugins", ()), *([] if isinstance(method, str) else [method])])
    cls = registry.method(method if isinstance(method, str) else method.name)
    settings = options.pop("settings")
    if wrong := [name for name in own if name not in cls.Config.model_fields]:
        raise unknown(f"option or setting of {cls.name}", wrong[0], sorted({*types, *cls.Config.model_fields}))
    if twice := [f"{name}={own[name]!r} and {name}={settings[name]!r}" for name in own if name in settings]:
        raise UserError(f"a setting is given twice: {twice[0]}, the latter in `settings`; give one")
    of_preset = presets.preset(preset) if preset else {}
    chosen = {**of_preset, "seeds": range(of_preset.get("seeds", 1)), **options}
    chosen |= {
        "method": cls.name,
        "seeds": tuple(dict.fromkeys(chosen["seeds"])),
        "width": for_backbone(chosen.get("width", 1.0), chosen.get("backbone", "resnet18")),
        "settings": {**settings, **own},
        "cap_limits": "limit_train" in of_preset and "limit_train" not in options,
    }
    return Request(**chosen)


def results(folder: Folder = None, baselines: Folders = None) -> pd.DataFrame:
    """All results as a frame with a row per run, whose columns lrbench.report.frame describes.

    folder: of the runs; $LRBENCH_RESULTS or results/runs where None. baselines: stores that are read beside it and
    never written; where None those of $LRBENCH_BASELINES, or the records that ship with the checkout of lrbench.
    """
    from lrbench.report.frame import frame

    return frame(open_store(folder, baselines, check=()))


def table(
    name: str | int | None = None,
    results: Folder = None,
    baselines: Folders = None,
    warn: Warn = None,
    **options: Any,
) -> Tables:
    """A table by name: a published one, leaderboard, sr, tuned or claims; all published ones where None.

    options: `datasets` and `backbones` of the runs that it is made of, all where left out; a dataset "OLD=NEW": of a
    published table or the claims, NEW in the place of OLD. long=True: every column and note of published tables and
    leaderboards, and those of older protocols.
    """
    from lrbench.report import tables
    from lrbench.report.frame import frame

    if wrong := [name for name in options if name not in TABLE]:
        raise unknown("option of a table", wrong[0], TABLE)
    wanted = checked(options, TABLE)
    store = open_store(results, baselines, warn)
    named, renamed = instead(wanted.pop("datasets", ()))
    return tables.asked(None if name is None else str(name), frame(store), store, named, renamed, **wanted)


def leaderboard(results: Folder = None, baselines: Folders = None, **options: Any) -> Tables:
    """Every way of training that was run, best first, beside its control of equal budget; options: as of `table`."""
    return table("leaderboard", results, baselines, **options)


def compare(
    first: str, second: str, results: Folder = None, baselines: Folders = None, warn: Warn = None, **conditions: Any
) -> Versus:
    """Two ways of training, as `lrbench compare` names them, over the seeds that both have. conditions: of the runs."""
    from lrbench.report import versus
    from lrbench.report.frame import frame

    checked({"first": first, "second": second, **conditions}, {"first": str, "second": str})
    store = open_store(results, baselines, warn)
    return versus.compare(first, second, frame(store), store, conditions)


def plot(
    name: str, results: Folder = None, baselines: Folders = None, data: Folder = None, warn: Warn = None, **options: Any
) -> Figure:
    """A figure by name: curves, gains, or an installed one; options: see lrbench.report.figures.draw."""
    from lrbench.report import figures
    from lrbench.report.frame import frame

    options = checked({option: value for option, value in options.items() if value is not None}, FIGURE)
    store = open_store(results, baselines, warn, SHOWN)
    return figures.draw(name, frame(store), store, data_root(_folder("data", data)), store.warn, **options)


def load(run: str, results: Folder = None, baselines: Folders = None, device: str = "cpu") -> nn.Module:
    """The trained network of a run, by its id or the beginning of one, frozen and in eval mode.

    It is called with images, float32 in [0, 1], (n, 3, S, S): for a classifier that is tested on LR images these are
    enlarged to the side S of its input (`net.context.side`) first; it returns logits (n, classes).
    """
    from lrbench.device import pick
    from lrbench.spec import RunSpec
    from lrbench.train.build import load_frozen

    checked({"run": run, "device": device}, {"run": str, "device": MACHINE["device"]})
    store = open_store(results, baselines, check=())
    specs = {one["id"]: one["spec"] for one in store.contents()}
    ids = [one for one in specs if one.startswith(run)]
    if len(ids) != 1:
        raise unknown("run", run, specs) if not ids else UserError(f"'{run}' may mean {few(ids)}; say which")
    try:
        return load_frozen(RunSpec.model_validate(specs[ids[0]]), store, pick(device))
    except FileNotFoundError as error:
        raise UserError(f"{error}; train it again with lr.run or 'lrbench run'") from error


def open_store(
    results: Folder = None, baselines: Folders = None, warn: Warn = None, check: Sequence[str] = (PREDICTIONS,)
) -> Store:
    """The store of the user's runs, with those that are read beside it.

    warn: told of what is wrong with a run. check: files that are going to be read: runs that lack one are left out.
    """
    own = results_folder(results)
    others = [one for one in baseline_folders(baselines) if one.resolve() != own.resolve()]
    return Store(own, warn or (lambda message: print(f"lrbench: {message}", file=sys.stderr)), others, check)


def results_folder(given: Folder) -> Path:
    """The folder of the runs: `given`, else $LRBENCH_RESULTS, else results/runs. Raises UserError for a file."""
    return _folder("results", given or os.environ.get("LRBENCH_RESULTS")) or RESULTS


def baseline_folders(given: Folders) -> list[Path]:
    """The stores that are read beside the user's own: `given`, else $LRBENCH_BASELINES, else what the checkout ships.

    given: one, or several; none where empty. Raises UserError for a folder that is not there.
    """
    named = os.environ.get("LRBENCH_BASELINES")
    if given is None and named is None:
        return [SHIPPED] if SHIPPED.is_dir() else []
    wanted = (named or "").split(os.pathsep) if given is None else several(given)
    folders = [one for name in wanted if str(name) != NONE and (one := _folder("baselines", name))]
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"there is no folder '{folder}' of baselines")
    return folders


def _folder(option: str, given: Folder) -> Path | None:
    """A folder, or none where none is named. Raises UserError for what is no folder."""
    if given is None or given == "":
        return None
    path = expanded(given) if isinstance(given, str | os.PathLike) else None
    if path is None or any(place.is_file() for place in (path, *path.parents)):
        raise UserError(f"{option}={given!r} is no folder; name one")
    return path
