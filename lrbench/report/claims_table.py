"""A paper's claims and the verdicts on them as tables: the verdicts, then the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from lrbench.report import claims, frame, notes
from lrbench.report.claims import Claim, Evidence, Finding
from lrbench.report.compare import SEEDS, Right, numbers
from lrbench.report.formats import Table
from lrbench.report.frame import DIVERGED, FAILED, SHARED, SHARED_NUMBERS
from lrbench.report.stats import CHANCE
from lrbench.report.ways import DASH, Runs, gain, joined, summary

TITLE, EVIDENCE = "Claims", "Claims: the evidence"


def tables(wanted: Sequence[Claim], results: pd.DataFrame, right: Right) -> list[Table]:
    """Two tables for each set of conditions under which any comparison was run; else the claims, all undecided.

    Those of the newest protocol stand first, of one protocol those with most comparisons that count.
    """
    usual = frame.defaults(results)
    made: list[tuple[int, int, list[Table]]] = []
    for table in [*frame.tables(results, SHARED), frame.placed(results)[:0]]:
        runs = Runs(table, usual)
        findings = [one for claim in wanted for one in claim.judge(runs, right)]
        compared = sum(one.counts for finding in findings for one in finding.evidence)
        if any(one.comparison for finding in findings for one in finding.evidence) or not (len(table) or made):
            protocol = int(table.iloc[0]["protocol"]) if len(table) else 0
            made.append((protocol, compared, [_verdicts(runs, findings), _evidence(table, findings)]))
    return [one for *_, pair in sorted(made, key=lambda one: one[:2], reverse=True) for one in pair]


def _verdicts(runs: Runs, findings: Sequence[Finding]) -> Table:
    columns = [
        ("", [one.claim.text for one in findings], None),
        ("compared", [one.against for one in findings], None),
        ("verdict", [str(one.verdict) for one in findings], None),
        ("seeds enough", [f"{one.enough} of {len(one.evidence)}" for one in findings], None),
        ("diverged", [str(one.diverged or DASH) for one in findings], None),
        ("why", [one.why for one in findings], None),
    ]
    legend = [
        "A claim is over ways of training: a difference counts where the two share "
        f"{SEEDS} seeds or more, and is beyond chance where the paired t-test over them gives p < {CHANCE:g} after "
        "Holm's correction for the comparisons of that line, their spread pooled and at least what the test images "
        "alone give. With fewer seeds two networks are compared, and a claim is undecided; so it is where a comparison "
        "is missing, shows no difference beyond chance, or where one of two has more epochs in its weights.",
        f"{claims.AS_PUBLISHED}: with what the paper compares with. {claims.EQUAL_BUDGET}: with one of the two started "
        "as the other was (`init`), whichever was run, so that as many epochs are in the weights of both.",
        "Methods have their default settings, but for those that a claim names. Diverged: how many of the runs that a "
        "line compares have no score, since their training diverged.",
        *dict.fromkeys(f"{one.claim.text}: {one.claim.source}." for one in findings),
    ]
    return Table.of(TITLE, _under(runs.table), columns, notes.failed(_failed(runs, findings)), legend=legend)


def _failed(runs: Runs, findings: Sequence[Finding]) -> pd.DataFrame:
    """The failed runs that one of the claims compares."""
    missed = runs.table[runs.table["status"] == FAILED]
    pairs = [pair for finding in findings for pair in finding.claim.pairs] if len(missed) else []
    ids = {run for pair in pairs for side in pair.sides for run in runs.find(side, *pair.place)["id"]}
    return missed[missed["id"].isin(ids)]


def _evidence(runs: pd.DataFrame, findings: Sequence[Finding]) -> Table:
    every = [(finding, one) for finding in findings for one in finding.evidence]
    flat = [_flat(runs, finding, one) for finding, one in every]
    shown = [(row, one) for row, (_, one) in zip(flat, every, strict=True) if one.comparison]
    columns = [
        ("", [row["pair"] for row, _ in shown], [joined(_ids([one])) for _, one in shown]),
        ("compared", [row["compared"] for row, _ in shown], None),
        ("difference", [gain(row, "other") for row, _ in shown], None),
        ("epochs", [" and ".join(map(str, dict.fromkeys(one.budgets))) or DASH for _, one in shown], None),
        ("p", [f"{row['other_p']:.2g}" for row, _ in shown], None),
        ("p (Holm)", [DASH if pd.isna(p := row["other_p_holm"]) else f"{p:.2g}" for row, _ in shown], None),
    ]
    legend = [
        "Difference: mean in points over the seeds that both have, its 95% interval over seeds and images, and their "
        "number. Epochs: in the weights of both, or of the one and the other. "
        "p: of no difference, by the paired t-test over seeds, the spread pooled; of one seed by McNemar's test, which "
        f"compares two networks and decides nothing. Holm: corrected, of {SEEDS} seeds or more, and of one seed. "
        "The interval comes of resampling, p of that test: close to 0.05 one may say what the other does not; verdicts "
        "rest on p (Holm). The spread is pooled over the comparisons of a claim: what stands in two claims has two p."
    ]
    said = [
        *notes.precisions({one.label: pd.concat([one.mine, one.other]) for _, one in every}),
        *notes.origins(pd.concat([runs[:0], *(side for _, one in every for side in (one.mine, one.other))])),
    ]
    return Table.of(EVIDENCE, _under(runs), columns, said, lambda: pd.DataFrame(flat), legend)


def _ids(evidence: Sequence[Evidence]) -> list[str]:
    """The runs that are compared, each once."""
    return list(dict.fromkeys(run for one in evidence for runs in (one.mine, one.other) for run in runs["id"]))


def _under(runs: pd.DataFrame) -> str:
    return frame.conditions(runs.iloc[0], SHARED) if len(runs) else "no run yet of what the claims compare"


def _flat(runs: pd.DataFrame, finding: Finding, one: Evidence) -> dict[str, Any]:
    """The verdict and one comparison, run or missing."""
    about = {name: runs.iloc[0][name] if len(runs) else None for name in SHARED_NUMBERS}
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
        "content": there.iloc[0]["content"] if len(there) else None,
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
