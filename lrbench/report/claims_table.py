"""A paper's claims and the verdicts on them as tables: the verdicts, then the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from lrbench.report import claims, frame, notes
from lrbench.report.claims import Claim, Evidence, Finding
from lrbench.report.compare import SEEDS, Comparison, Right, numbers
from lrbench.report.formats import Table
from lrbench.report.frame import DIVERGED, FAILED, SHARED
from lrbench.report.groups import DASH, Runs, joined, summary
from lrbench.report.stats import CHANCE

TITLE, EVIDENCE = "Claims", "Claims: the evidence"
HEAD = ["", "compared", "verdict", "seeds enough", "diverged", "why"]
EVIDENCE_HEAD = ["", "compared", "difference", "epochs", "p", "p (Holm)"]


def tables(wanted: Sequence[Claim], results: pd.DataFrame, right: Right) -> list[Table]:
    """Two tables for each set of conditions under which any comparison was run; else the claims, all undecided."""
    usual = frame.defaults(results)
    made: list[Table] = []
    for table in [*frame.tables(results, SHARED), frame.placed(results)[:0]]:
        runs = Runs(table, usual)
        findings = [one for claim in wanted for one in claim.judge(runs, right)]
        compared = any(one.comparison for finding in findings for one in finding.evidence)
        if compared or not (len(table) or made):
            made += [_verdicts(runs, findings), _evidence(table, findings)]
    return made


def difference(comparison: Comparison | None) -> str:
    """Such as "+1.39 [+0.52, +2.26] (3)": points, their 95% interval over seeds and images, seeds."""
    if comparison is None:
        return DASH
    low, high = comparison.interval
    return f"{comparison.gain:+.2f} [{low:+.2f}, {high:+.2f}] ({len(comparison.seeds)}{comparison.left_out})"


def _verdicts(runs: Runs, findings: Sequence[Finding]) -> Table:
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
    said = [
        "A claim is over ways of training: a difference counts where the two share "
        f"{SEEDS} seeds or more, and is beyond chance where the paired t-test over them gives p < {CHANCE:g} after "
        "Holm's correction for the comparisons of that line, their spread pooled and at least what the test images "
        "alone give. With fewer seeds two networks are compared, and a claim is undecided; so it is where a comparison "
        "is missing, shows no difference beyond chance, or where one of two has more epochs in its weights.",
        f"{claims.AS_PUBLISHED}: with what the paper compares with. {claims.EQUAL_BUDGET}: with one of the two started "
        "as the other was (`init`), whichever was run, so that as many epochs are in the weights of both.",
        "Diverged: how many of the runs that a line compares have no score, since their training diverged.",
        *notes.failed(_failed(runs, findings)),
        *dict.fromkeys(f"{one.claim.text}: {one.claim.source}." for one in findings),
    ]
    behind = [[tuple(_ids(one.evidence)), *[()] * 5] for one in findings]
    return Table(
        TITLE, _under(runs.table), pd.DataFrame(lines, columns=HEAD), said, runs=pd.DataFrame(behind, columns=HEAD)
    )


def _failed(runs: Runs, findings: Sequence[Finding]) -> pd.DataFrame:
    """The failed runs that one of the claims compares."""
    missed = runs.table[runs.table["status"] == FAILED]
    pairs = [pair for finding in findings for pair in finding.claim.pairs] if len(missed) else []
    ids = {run for pair in pairs for side in pair.sides for run in runs.find(side, *pair.place)["id"]}
    return missed[missed["id"].isin(ids)]


def _evidence(runs: pd.DataFrame, findings: Sequence[Finding]) -> Table:
    every = [(finding, one) for finding in findings for one in finding.evidence]
    lines = [
        [one.label, finding.against, difference(one.comparison), _epochs(one), *_p(one.comparison)]
        for finding, one in every
        if one.comparison
    ]
    said = [
        "Difference: mean in points over the seeds that both have, its 95% interval over seeds and images, and their "
        "number. Epochs: in the weights of both, or of the one and the other. "
        "p: of no difference, by the paired t-test over seeds, the spread pooled; of one seed by McNemar's test, which "
        f"compares two networks and decides nothing. Holm: corrected, of {SEEDS} seeds or more, and of one seed.",
        *notes.precisions({one.label: pd.concat([one.mine, one.other]) for _, one in every}),
        *notes.origins(pd.concat([runs[:0], *(side for _, one in every for side in (one.mine, one.other))])),
    ]
    behind = [[tuple(_ids([one])), *[()] * 5] for _, one in every if one.comparison]
    return Table(
        EVIDENCE,
        _under(runs),
        pd.DataFrame(lines, columns=EVIDENCE_HEAD),
        said,
        lambda: pd.DataFrame([_flat(runs, finding, one) for finding, one in every]),
        pd.DataFrame(behind, columns=EVIDENCE_HEAD),
    )


def _p(comparison: Comparison | None) -> list[str]:
    raw, corrected = (comparison.p, comparison.corrected) if comparison else (None, None)
    return [DASH if p is None else f"{p:.2g}" for p in (raw, corrected)]


def _epochs(one: Evidence) -> str:
    return " and ".join(map(str, dict.fromkeys(one.budgets))) or DASH


def _ids(evidence: Sequence[Evidence]) -> list[str]:
    """The runs that are compared, each once."""
    return list(dict.fromkeys(run for one in evidence for runs in (one.mine, one.other) for run in runs["id"]))


def _under(runs: pd.DataFrame) -> str:
    return frame.conditions(runs.iloc[0], SHARED) if len(runs) else "no run yet of what the claims compare"


def _flat(runs: pd.DataFrame, finding: Finding, one: Evidence) -> dict[str, Any]:
    """The verdict and one comparison, run or missing."""
    about = {name: runs.iloc[0][name] for name in SHARED} if len(runs) else dict.fromkeys(SHARED)
    there = pd.concat([one.mine, one.other])
    seeds = one.comparison.seeds if one.comparison else ()
    mine, other = (summary(side) if len(side) else {} for side in (one.mine, one.other))
    ids = [joined(side.loc[side["seed"].isin(seeds), "id"]) for side in (one.mine, one.other)]
    return {
        "table": TITLE,
        **about,
        "claim": finding.claim.text,
        "claim_source": finding.claim.source,
        "compared": finding.against,
        "verdict": str(finding.verdict),
        "why": finding.why,
        "pair": one.label,
        "dataset": one.pair.dataset,
        "scale": one.pair.scale,
        "backbone": one.pair.mine.backbone,
        "width": there.iloc[0]["width"] if len(there) else None,
        "method": one.pair.mine.method,
        "other_method": one.pair.other.method,
        **numbers("other", one.comparison),
        "epochs_in_weights": mine.get("epochs_in_weights"),
        "other_epochs_in_weights": other.get("epochs_in_weights"),
        "diverged": int((one.mine["status"] == DIVERGED).sum()),
        "other_runs_diverged": int((one.other["status"] == DIVERGED).sum()),
        "seeds": joined(seeds),
        "runs": ids[0],
        "other_runs": ids[1],
    }
