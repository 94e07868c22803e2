"""The runs that runs needed, as a store has them: teachers' scores, SR nets' training, whose weights were used."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from lrbench.method import naming
from lrbench.report import cells
from lrbench.spec.record import Record
from lrbench.spec.runspec import RunSpec
from lrbench.store.store import WEIGHTS

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
    *fewer, most = sorted({int(one.metrics["epochs_in_weights"] or 0) for one in found})
    return f"{cells.scores(found, 'top1')}, {' or '.join([*map(str, fewer), naming.in_epochs(most)])}"


def about_restorers(records: Sequence[Record], known: Known) -> str:
    """Such as "50,000 images for 20 epochs"; empty where none is known."""
    trained = {
        f"{one.data.train_images:,} images for {naming.in_epochs(int(one.metrics['epochs_in_weights'] or 0))}"
        for one in restorers(records, known)
    }
    return " or ".join(sorted(trained))


def differing_weights(records: Iterable[Record], known: Known) -> list[str]:
    """A sentence for each needed way of training of which some of these runs used weights other than the stored run's.

    That happens where a run was repeated: on another machine, or on a GPU, equal runs do not end with equal weights.
    """
    users: dict[str, dict[str, str]] = defaultdict(dict)  # needed run -> user -> its weights
    specs: dict[str, RunSpec] = {}
    for record in records:
        for role, weights in record.needs_weights.items():
            need = specs.setdefault(record.spec.needs[role].id, record.spec.needs[role])
            users[need.id][record.id] = weights
    seeds: dict[tuple[str, bool], list[int]] = defaultdict(list)  # needed way of training, whether stored -> seeds
    usual: dict[tuple[str, bool], list[bool]] = defaultdict(list)  # -> of each user, whether it had the usual weights
    for run, of_user in users.items():
        used, stored = list(of_user.values()), run in known
        weights_now = known[run].files.get(WEIGHTS) if stored else max(used, key=used.count)
        if set(used) != {weights_now}:
            need_of = naming.described(specs[run]).rpartition(",")[0], stored
            seeds[need_of].append(specs[run].seed)
            usual[need_of] += [weights == weights_now for weights in used]
    return [
        f"{name}, seed{'s' * (len(seeds[name, stored]) > 1)} {', '.join(map(str, sorted(seeds[name, stored])))}: "
        f"trained more than once, to different weights. {had.count(False)} of the {len(had)} runs here that need it "
        f"used weights other than those of {'the stored run, whose score is shown' if stored else 'most of them'}."
        for (name, stored), had in usual.items()
    ]
