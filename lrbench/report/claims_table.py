"""A paper's claims and the verdicts on them as sheets: the verdicts, then the evidence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from lrbench.method import naming
from lrbench.report import cells, claims
from lrbench.report.cells import Cell, Conditions
from lrbench.report.claims import Claim, Finding
from lrbench.report.compare import SEEDS, Right
from lrbench.report.evidence import Evidence
from lrbench.report.formats import DASH, Sheet
from lrbench.report.marks import precisions, significance
from lrbench.report.stats import CHANCE
from lrbench.report.table import Failure
from lrbench.report.tuned import difference
from lrbench.spec.record import Record
from lrbench.spec.runspec import RunSpec

TITLE, EVIDENCE = "Claims", "Claims: the evidence"
HEAD = ["", "compared", "verdict", "seeds enough", "diverged", "why"]
EVIDENCE_HEAD = ["", "compared", "difference", "epochs", "p", "p (Holm)"]


def sheets(
    wanted: Sequence[Claim], records: Iterable[Record], right: Right, failures: Iterable[Failure] = ()
) -> list[Sheet]:
    """Two tables for each set of conditions under which any comparison was run; else the claims, all undecided."""
    failed = list(failures)
    found = cells.sort(record for record in records if not record.restores)
    judged = {shared: [one for claim in wanted for one in claim.judge(own, right)] for shared, own in found.items()}
    shown: dict[Conditions | None, list[Finding]] = {
        shared: findings
        for shared, findings in judged.items()
        if any(one.comparison for finding in findings for one in finding.evidence)
    }
    shown = shown or {None: [one for claim in wanted for one in claim.judge({}, right)]}
    return [
        made
        for shared, findings in shown.items()
        for made in (_verdicts(shared, findings, failed), _evidence(shared, findings))
    ]


def _verdicts(shared: Conditions | None, findings: list[Finding], failed: Sequence[Failure]) -> Sheet:
    lines = [
        [
            one.claim.text,
            one.against,
            str(one.verdict),
            f"{one.enough} of {len(one.evidence)}",
            str(one.diverged or DASH),
            one.why,
        ]
        for one in findings
    ]
    notes = [
        "A claim is over ways of training: a difference counts where the two share "
        f"{SEEDS} seeds or more, and is beyond chance where the paired t-test over them gives p < {CHANCE:g} after "
        "Holm's correction for the comparisons of that line, their spread pooled and at least what the test images "
        "alone give. With fewer seeds two networks are compared, and a claim is undecided; so it is where a comparison "
        "is missing, shows no difference beyond chance, or where one of two has more epochs in its weights.",
        f"{claims.AS_PUBLISHED}: with what the paper compares with. {claims.EQUAL_BUDGET}: with one of the two started "
        "as the other was (`init`), whichever was run, so that as many epochs are in the weights of both.",
        "Diverged: how many of the runs that a line compares have no score, since their training diverged.",
        *(
            f"Failed, and missing here: {naming.described(spec)}: {why}."
            for spec, why in failed
            if cells.conditions(spec) == shared and any(_compares(finding.claim, spec) for finding in findings)
        ),
        *dict.fromkeys(f"{one.claim.text}: {one.claim.source}." for one in findings),
    ]
    return Sheet(TITLE, _under(shared), HEAD, lines, notes, [])


def _compares(claim: Claim, spec: RunSpec) -> bool:
    """Whether a run is one that a claim compares."""
    return any(
        (pair.dataset, pair.scale) == (spec.dataset, spec.scale) and wanted.fits(cells.row_key(spec))
        for pair in claim.pairs
        for wanted in (pair.mine, pair.other)
    )


def _evidence(shared: Conditions | None, findings: list[Finding]) -> Sheet:
    lines = [
        [one.label, finding.against, difference(one.comparison), _epochs(one), *_p(one)]
        for finding in findings
        for one in finding.evidence
        if one.comparison
    ]
    notes = [
        "Difference: mean in points over the seeds that both have, its 95% interval over seeds and images, and their "
        "number. Epochs: in the weights of both, or of the one and the other. "
        "p: of no difference, by the paired t-test over seeds, the spread pooled; of one seed by McNemar's test, which "
        f"compares two networks and decides nothing. Holm: corrected, of {SEEDS} seeds or more, and of one seed.",
        *precisions({one.label: _records(one) for finding in findings for one in finding.evidence}),
    ]
    flat_lines = [_flat(shared, finding, one) for finding in findings for one in finding.evidence]
    return Sheet(EVIDENCE, _under(shared), EVIDENCE_HEAD, lines, notes, flat_lines)


def _p(one: Evidence) -> list[str]:
    raw, corrected = (one.comparison.p, one.comparison.corrected) if one.comparison else (None, None)
    return [DASH if p is None else f"{p:.2g}" for p in (raw, corrected)]


def _epochs(one: Evidence) -> str:
    return " and ".join(map(str, dict.fromkeys(one.budgets or ()))) or DASH


def _records(one: Evidence) -> list[Record]:
    return [record for cell in (one.mine, one.other) if cell for record in cell.records]


def _under(shared: Conditions | None) -> str:
    return str(shared) if shared else "no run yet of what the claims compare"


def _flat(shared: Conditions | None, finding: Finding, one: Evidence) -> dict[str, Any]:
    """The verdict and one comparison, run or missing."""
    return {
        "table": TITLE,
        **cells.flat(shared),
        "claim": finding.claim.text,
        "claim_source": finding.claim.source,
        "compared": finding.against,
        "verdict": str(finding.verdict),
        "why": finding.why,
        "pair": one.label,
        "dataset": one.pair.dataset,
        "scale": one.pair.scale,
        "backbone": one.pair.mine.backbone,
        "width": cell.width if (cell := one.mine or one.other) else None,
        "method": one.pair.mine.method,
        "other_method": one.pair.other.method,
        **significance("other", one.comparison),
        "epochs_in_weights": one.mine.epochs if one.mine else None,
        "other_epochs_in_weights": one.other.epochs if one.other else None,
        "diverged": one.mine.diverged if one.mine else 0,
        "other_runs_diverged": one.other.diverged if one.other else 0,
        "seeds": " ".join(map(str, one.comparison.seeds)) if one.comparison else "",
        "runs": _ids(one, one.mine),
        "other_runs": _ids(one, one.other),
    }


def _ids(one: Evidence, cell: Cell | None) -> str:
    """The runs that the comparison rests on."""
    seeds = one.comparison.seeds if one.comparison else ()
    return " ".join(record.id for record in (cell.records if cell else ()) if record.spec.seed in seeds)
