"""Running one method: from what the user asked for to records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from lrbench import device as devices
from lrbench.data import datasets
from lrbench.execute.progress import ConsoleProgress, Progress
from lrbench.execute.runner import Runner
from lrbench.method import registry
from lrbench.method.base import Method
from lrbench.plan.plan import Protocol, capped, plan
from lrbench.spec.record import Record
from lrbench.store.store import Store


@dataclass(frozen=True)
class Request:
    """What the user asked for; names and defaults are those of `lrbench run`.

    plugins: methods that are not installed: "FILE.py:Class", or a class, such as one of a notebook's cell.
    """

    method: str
    dataset: str
    results: Path
    scale: int = 4
    backbone: str = "resnet18"
    width: float = 1.0
    seeds: tuple[int, ...] = (0,)
    recipe: str = "paper"
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    dropout: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    degradation: str = "pil-bicubic"
    select: str = "none"
    limit_train: int | None = None
    limit_test: int | None = None
    cap_limits: bool = False  # a limit above the dataset's images means all of them; else it is a mistake
    device: str = "auto"
    precision: str = "auto"
    capture: bool = True  # steps in CUDA graphs, on a GPU
    threads: str | int = devices.AUTO
    plugins: tuple[str | type[Method], ...] = ()
    data: Path | None = None
    baselines: tuple[Path, ...] = ()  # stores that are read beside `results` and never written


OWN = {"data", "precision"}  # of a Request; a Protocol means something else by these names
SHARED = ({one.name for one in fields(Request)} & {one.name for one in fields(Protocol)}) - OWN


def with_needs(records: Sequence[Record], store: Store) -> list[Record]:
    """The records and, before them, those of the runs that they needed, each once, where they are still there."""
    found: dict[str, Record | None] = {}
    for record in records:
        for spec in record.spec.walk():
            found.setdefault(spec.id, record if spec.id == record.id else store.get(spec))
    return [record for record in found.values() if record is not None]


def run(request: Request, progress: Progress | None = None) -> list[Record]:
    """The records of a request, one per seed. All is checked before anything is trained or written."""
    progress = progress or ConsoleProgress()
    for plugin in request.plugins:
        registry.add_draft(plugin) if isinstance(plugin, str) else registry.register_class(plugin)
    registry.method(request.method)
    devices.check_threads(request.threads)
    chosen, root = devices.enter(devices.pick(request.device)), datasets.data_root(request.data)
    info, precision = datasets.info(request.dataset, root), devices.precision(request.precision, chosen)
    wanted = Protocol(data=info, precision=precision, **{name: getattr(request, name) for name in SHARED})
    if request.cap_limits:
        wanted = capped(wanted, progress.note)
    specs = [plan(request.method, request.settings, replace(wanted, seed=seed)) for seed in request.seeds]
    devices.use_threads(devices.choose_threads(request.threads))
    store = Store(request.results, progress.note, others=request.baselines)
    runner = Runner(store, root, chosen, lambda spec: progress, request.capture)
    return [runner.run(spec) for spec in specs]
