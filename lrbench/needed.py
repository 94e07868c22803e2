"""The runs that runs needed, as a store has them: teachers' scores, SR nets' training, whose weights were used."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from lrbench import cells
from lrbench.record import Record
from lrbench.spec import RunSpec
from lrbench.store import WEIGHTS

TEACHER = "teacher"  # the role of the run that a student learns from
Known = Mapping[str, Record]  # id -> record


def teachers(records: Iterable[Record], known: Known) -> list[Record]:
    """The teachers of some runs, those that are known, each once."""
    needs = [record.spec.needs[TEACHER].id for record in records if TEACHER in record.spec.needs]
    return [known[run] for run in dict.fromkeys(needs) if run in known]


def restorers(records: Iterable[Record], known: Known) -> list[Record]:
    """The SR nets whose images some classifiers see, those that are known, each once."""
    needs = [need.id for record in records for need in record.spec.needs.values()]
    return [known[run] for run in dict.fromkeys(needs) if run in known and known[run].restores]


def about_teachers(records: Sequence[Record], known: Known) -> str:
    """Such as "76.83 ± 0.84 (3), 20 epochs"; empty where none is known."""
    found = teachers(records, known)
    if not found:
        return ""
    epochs = sorted({int(one.metrics["epochs_in_weights"] or 0) for one in found})
    return f"{cells.scores(found, 'top1')}, {' or '.join(map(str, epochs))} epochs"


def about_restorers(records: Sequence[Record], known: Known) -> str:
    """Such as "50,000 images for 20 epochs"; empty where none is known."""
    trained = {
        f"{one.data.train_images:,} images for {one.metrics['epochs_in_weights']} epochs"
        for one in restorers(records, known)
    }
    return " or ".join(sorted(trained))


def differing_weights(records: Iterable[Record], known: Known) -> list[str]:
    """A sentence for each needed run of which some of these runs had other weights than others, or than it has now."""
    users: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))  # needed run -> weights -> whose
    specs: dict[str, RunSpec] = {}
    for record in records:
        for role, weights in record.needs_weights.items():
            need = specs.setdefault(record.spec.needs[role].id, record.spec.needs[role])
            users[need.id][weights].append(f"{_name(record.spec)} [{record.id}]")
    said = []
    for run, whose in users.items():
        now = known[run].files.get(WEIGHTS) if run in known else None
        if now is not None:
            whose[now].append("the run that is stored and shown here")
        if len(whose) > 1:
            groups = "; ".join(", ".join(dict.fromkeys(names)) for names in whose.values())
            said.append(f"{_name(specs[run])} [{run}] was trained more than once, to different weights: {groups}.")
    return said


def _name(spec: RunSpec) -> str:
    return f"{cells.name(cells.row_key(spec))} seed {spec.seed}"
