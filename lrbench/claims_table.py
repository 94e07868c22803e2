"""A paper's claims and the verdicts on them as sheets: the verdicts, then the evidence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from lrbench import cells, claims
from lrbench.cells import Cell, Conditions
from lrbench.claims import Claim, Finding
from lrbench.compare import Right
from lrbench.evidence import SEEDS, Evidence
from lrbench.record import Record
from lrbench.sheet import DASH, Sheet
from lrbench.stats import CHANCE
from lrbench.tuned import difference, flat

TITLE, EVIDENCE = "Claims", "Claims: the evidence"
HEAD = ["", "compared", "verdict", "seeds enough", "why"]
EVIDENCE_HEAD = ["", "compared", "difference", "p", "p (Holm)"]


def sheets(wanted: Sequence[Claim], records: Iterable[Record], right: Right) -> list[Sheet]:
    """Two tables for each set of conditions under which any comparison was run; else the claims, all undecided."""
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
        for made in (_verdicts(shared, findings), _evidence(shared, findings))
    ]


def _verdicts(shared: Conditions | None, findings: list[Finding]) -> Sheet:
    lines = [
        [
            one.claim.text,
            one.against,
            str(one.verdict),
            f"{one.enough} of {len(one.evidence)}",
            one.why,
        ]
        for one in findings
    ]
    notes = [
        "A claim is over ways of training: a difference counts where the two share "
        f"{SEEDS} seeds or more, and is beyond chance where the paired t-test over them gives p < {CHANCE:g} after "
        "Holm's correction for the comparisons of that line. With fewer seeds two networks are compared, and a "
        "claim is undecided; so it is where a comparison is missing, or shows no difference beyond chance.",
        f"{claims.AS_PUBLISHED}: with what the paper compares with. {claims.EQUAL_BUDGET}: with the same started as "
        "the first was (`init`), so that as many epochs are in its weights.",
        *dict.fromkeys(f"{one.claim.text}: {one.claim.source}." for one in findings),
    ]
    return Sheet(TITLE, _under(shared), HEAD, lines, notes, [])


def _evidence(shared: Conditions | None, findings: list[Finding]) -> Sheet:
    lines = [
        [one.label, finding.against, difference(one.comparison), *_p(one)]
        for finding in findings
        for one in finding.evidence
        if one.comparison
    ]
    notes = [
        "Difference: mean in points over the seeds that both have, its 95% t-interval over seeds, and their number. "
        "p: of no difference, by the paired t-test over seeds; of one seed by McNemar's test, which compares two "
        f"networks and decides nothing. Holm: corrected, of {SEEDS} seeds or more."
    ]
    flat_lines = [_flat(shared, finding, one) for finding in findings for one in finding.evidence]
    return Sheet(EVIDENCE, _under(shared), EVIDENCE_HEAD, lines, notes, flat_lines)


def _p(one: Evidence) -> list[str]:
    raw = one.comparison.p if one.comparison else None
    return [DASH if p is None else f"{p:.2g}" for p in (raw, one.corrected)]


def _under(shared: Conditions | None) -> str:
    return str(shared) if shared else "no run yet of what the claims compare"


def _flat(shared: Conditions | None, finding: Finding, one: Evidence) -> dict[str, Any]:
    """The verdict and one comparison, run or missing."""
    return {
        "table": TITLE,
        **(vars(shared) if shared else dict.fromkeys(Conditions.__dataclass_fields__)),
        "claim": finding.claim.text,
        "claim_source": finding.claim.source,
        "compared": finding.against,
        "verdict": str(finding.verdict),
        "why": finding.why,
        "pair": one.label,
        "dataset": one.pair.dataset,
        "scale": one.pair.scale,
        "backbone": one.pair.mine.backbone,
        "method": one.pair.mine.method,
        "other_method": one.pair.other.method,
        **flat("other", one.comparison),
        "other_p_holm": one.corrected,
        "seeds": " ".join(map(str, one.comparison.seeds)) if one.comparison else "",
        "runs": _ids(one, one.mine),
        "other_runs": _ids(one, one.other),
    }


def _ids(one: Evidence, cell: Cell | None) -> str:
    """The runs that the comparison rests on."""
    seeds = one.comparison.seeds if one.comparison else ()
    return " ".join(record.id for record in (cell.records if cell else ()) if record.spec.seed in seeds)
