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
    return f"{cells.scores(found, 'top1')}, {' or '.join(map(str, epochs))} epoch{'s' * (epochs != [1])}"


def about_restorers(records: Sequence[Record], known: Known) -> str:
    """Such as "50,000 images for 20 epochs"; empty where none is known."""
    trained = {
        f"{one.data.train_images:,} images for {epochs} epoch{'s' * (epochs != 1)}"
        for one in restorers(records, known)
        for epochs in [one.metrics["epochs_in_weights"]]
    }
    return " or ".join(sorted(trained))


def differing_weights(records: Iterable[Record], known: Known) -> list[str]:
    """A sentence for each needed way of training of which some of these runs had weights other than those of now.

    So it is where a run was repeated: on another machine, or on a GPU, equal runs do not end with equal weights.
    """
    users: dict[str, dict[str, str]] = defaultdict(dict)  # needed run -> user -> its weights
    specs: dict[str, RunSpec] = {}
    for record in records:
        for role, weights in record.needs_weights.items():
            need = specs.setdefault(record.spec.needs[role].id, record.spec.needs[role])
            users[need.id][record.id] = weights
    seeds: dict[str, list[int]] = defaultdict(list)  # needed way of training -> seeds that were repeated
    given: dict[str, list[bool]] = defaultdict(list)  # -> of each of its users, whether it had the weights of now
    for run, of_user in users.items():
        used = list(of_user.values())
        now = known[run].files.get(WEIGHTS) if run in known else max(used, key=used.count)
        if set(used) != {now}:
            name = cells.named(specs[run]).rpartition(",")[0]
            seeds[name].append(specs[run].seed)
            given[name] += [weights == now for weights in of_user.values()]
    return [
        f"{name}, seed{'s' * (len(seeds[name]) > 1)} {', '.join(map(str, sorted(seeds[name])))}: trained more than "
        f"once, to different weights. {had.count(False)} of the {len(had)} runs here that need it had others than "
        "those of the run that is stored, or than the rest; a score of it that is shown is the stored one's."
        for name, had in given.items()
    ]
