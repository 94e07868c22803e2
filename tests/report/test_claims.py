"""Claims: what counts for one, against it, and not at all."""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.records import LR, diverged, record

from lrbench.report import claims, claims_table, published
from lrbench.report.claims import Above, BestNear, NoGain, Pair, Verdict
from lrbench.report.formats import FORMATS, render
from lrbench.report.frame import SHARED, defaults, frame, tables
from lrbench.report.ways import Runs, Wanted

PAPER = claims.installed(lambda note: pytest.fail(note))
BASE = (60.0, 61.0, 60.5)
SURE, UNSURE = (1.0, 1.1, 0.9), (2.0, -1.0, 0.1)


def right(run):
    """One image, which every run gets right."""
    return np.array([True])


def runs(method, scores, settings=None, **changes):
    return [record(method, score, seed, settings, **changes) for seed, score in enumerate(scores)]


def over(gains, base=BASE):
    return [score + gain for score, gain in zip(base, gains, strict=False)]


def judge(claim, records):
    results = frame(records)
    [table] = tables(results, SHARED)
    return claim.judge(Runs(table, defaults(results)), right)


def made(records, failures=()):
    """The tables of the paper's claims."""
    return claims_table.tables(PAPER, frame(records, failures), right)


def pair(backbone="resnet18"):
    return Pair(backbone, "cifar10", 4, Wanted("dfd", backbone), Wanted(LR, backbone))


def longer(other=LR):
    """DFD that starts from the LR-baseline, over another from scratch: 200 epochs beside 100."""
    return Pair("R", "cifar10", 4, Wanted("dfd", "resnet18", {"init": "lr-baseline"}), Wanted(other, "resnet18"))


def test_a_claim_is_not_decided_by_a_longer_training():
    trained_on = {"init": "lr-baseline"}
    records = runs("dfd", over(SURE), trained_on) + runs(LR, BASE)
    for claim in (Above("text", "source", (longer(),)), NoGain("text", "source", (longer(),), margin=0.5)):
        plain, equal = judge(claim, records + runs(LR, over((2.0, 2.1, 1.9)), trained_on))
        assert (plain.against, plain.verdict) == (claims.AS_PUBLISHED, Verdict.UNDECIDED)
        assert plain.evidence[0].more and plain.evidence[0].budgets == (200, 100)
        assert "but budgets differ in 1 of them: 200 epochs in the weights beside 100" in plain.why
        assert equal.against == claims.EQUAL_BUDGET and equal.evidence[0].comparison.gain == pytest.approx(-1)
        assert equal.verdict == (Verdict.NOT_SUPPORTED if isinstance(claim, Above) else Verdict.SUPPORTED)
    assert [one.verdict for one in judge(Above("text", "source", (longer(),)), records)] == [Verdict.UNDECIDED] * 2


def test_equal_budget_is_on_whichever_side_it_was_run():
    claim = Above("text", "source", (longer("vdsr"),))
    shared = runs("dfd", over((4.0, 4.1, 3.9)), {"init": "lr-baseline"}) + runs("vdsr", BASE)
    for more, gain in (
        (runs("vdsr", over((3.0, 3.1, 2.9)), {"init": "lr-baseline"}), 1.0),  # the other trained on
        (runs("dfd", over((2.0, 2.1, 1.9))), 2.0),  # the first from scratch
    ):
        plain, equal = judge(claim, shared + more)
        assert plain.verdict == Verdict.UNDECIDED and "budgets differ" in plain.why
        assert (equal.verdict, equal.evidence[0].comparison.gain) == (Verdict.SUPPORTED, pytest.approx(gain))
        assert equal.evidence[0].budgets[0] == equal.evidence[0].budgets[1]


def test_why_says_of_how_many_comparisons_it_speaks():
    claim = Above("text", "source", (pair(), replace(pair(), dataset="svhn")))
    one = runs("dfd", over(SURE)) + runs(LR, BASE)
    assert judge(claim, runs(LR, BASE))[0].why == "no comparison of 2 has 3 seeds"
    [finding] = judge(claim, one)
    assert finding.why == "1 of 2 comparisons have 3 seeds or more: 1 better beyond chance"
    [finding] = judge(replace(claim, pairs=claim.pairs[:1]), one)
    assert finding.why == "1 of 1 comparisons have 3 seeds or more: 1 better beyond chance"


def test_where_budgets_are_equal_there_is_one_verdict():
    [finding] = judge(Above("text", "source", (pair(),)), runs("dfd", over(SURE)) + runs(LR, BASE))
    assert (finding.against, finding.verdict) == (claims.AS_PUBLISHED, Verdict.SUPPORTED)


def test_what_diverged_is_counted_and_supports_nothing():
    gains = (1.0, 1.1, 0.9, 1.05)
    base = (*BASE, 60.2)
    mine, other = runs("dfd", over(gains, base)), runs(LR, base)
    claim = Above("text", "source", (pair(),))
    assert judge(claim, mine + other)[0].verdict == Verdict.SUPPORTED
    [finding] = judge(claim, [*mine[:3], diverged(mine[3]), *other])
    assert (finding.verdict, finding.diverged, finding.enough) == (Verdict.UNDECIDED, 1, 1)
    assert finding.why == "1 of 1 comparisons have 3 seeds or more: 1 undecided"
    assert finding.evidence[0].comparison.diverged == (3,)
    [finding] = judge(claim, [diverged(mine[0]), *mine[1:2], *other])
    assert (finding.enough, finding.diverged) == (0, 1)
    verdicts, evidence = made([*mine[:3], diverged(mine[3]), *other])
    assert list(verdicts.shown.iloc[0, 3:5]) == ["1 of 12", "1"] and "(3; 1 diverged)" in evidence.shown.iloc[0, 2]


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        (SURE, Verdict.SUPPORTED),
        ([-gain for gain in SURE], Verdict.NOT_SUPPORTED),
        (UNSURE, Verdict.UNDECIDED),
        (SURE[:2], Verdict.UNDECIDED),  # too few seeds, however sure
        (SURE[:1], Verdict.UNDECIDED),
    ],
)
def test_above_goes_by_differences_over_enough_seeds(gains, verdict):
    [finding] = judge(Above("text", "source", (pair(),)), runs("dfd", over(gains)) + runs(LR, BASE))
    assert finding.verdict == verdict
    assert finding.evidence[0].counts == (len(gains) >= 3)


def test_runs_are_compared_at_their_own_precision_and_those_are_told():
    records = runs("dfd", over(SURE), precision="bf16") + runs(LR, BASE)
    for other, gain in (([], 1.0), (runs(LR, over((0.5,) * 3), precision="bf16", finished="2026-02-01"), 0.5)):
        records += other
        [finding] = judge(Above("text", "source", (pair(),)), records)
        assert finding.evidence[0].comparison.gain == pytest.approx(gain)
        assert list(finding.evidence[0].other["id"]) == [one.id for one in records[-3:]]


def test_a_missing_pair_leaves_a_claim_undecided_but_one_against_it_is_enough():
    claim = Above("text", "source", (pair(), pair("vgg16")))
    for gains, verdict in ((SURE, Verdict.UNDECIDED), ([-gain for gain in SURE], Verdict.NOT_SUPPORTED)):
        [finding] = judge(claim, runs("dfd", over(gains)) + runs(LR, BASE))
        assert (finding.verdict, finding.enough, len(finding.evidence)) == (verdict, 1, 2)


def test_p_is_corrected_for_the_comparisons_of_one_verdict_whose_spread_is_pooled():
    claim = Above("text", "source", (pair(), pair("vgg16")))

    def both(gains, others):
        mine = [runs("dfd", over(each), backbone=name) for name, each in (("resnet18", gains), ("vgg16", others))]
        return [one for part in mine for one in part] + runs(LR, BASE) + runs(LR, BASE, backbone="vgg16")

    [finding] = judge(claim, both(SURE, (2.0, 2.6, 2.3)))
    one, other = (evidence.comparison for evidence in finding.evidence)
    assert one.spread == other.spread and one.spread.df == 4
    assert one.spread.sd == pytest.approx(np.sqrt((2 * 0.1**2 + 2 * 0.3**2) / 4))
    assert sorted([one.corrected, other.corrected]) == pytest.approx(sorted([max(one.p, 2 * other.p), 2 * other.p]))
    # just beyond chance alone, not so beside one that is not
    gains = (1.0, 2.0, 1.45)
    [alone] = judge(Above("text", "source", (pair(),)), runs("dfd", over(gains)) + runs(LR, BASE))
    assert 0.025 < alone.evidence[0].comparison.p < 0.05 and alone.verdict == Verdict.SUPPORTED
    [finding] = judge(claim, both(gains, (-1.5, 1.5, 0.0)))
    assert finding.verdict == Verdict.UNDECIDED and not finding.evidence[0].more


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        (SURE, Verdict.NOT_SUPPORTED),
        (UNSURE, Verdict.UNDECIDED),  # no gain was found; that is not none
        ((0.1, 0.0, 0.05), Verdict.SUPPORTED),
        ((0.1, 0.11, 0.1), Verdict.SUPPORTED),  # beyond chance, and below the margin for sure
        ((0.6, 0.4, 0.55), Verdict.UNDECIDED),  # beyond chance, and perhaps of the margin
        ([-gain for gain in SURE], Verdict.SUPPORTED),
        ((0.0, 0.0), Verdict.UNDECIDED),
    ],
)
def test_no_gain_wants_the_whole_interval_below_the_margin(gains, verdict):
    sr = Pair("VDSR", "cifar10", 4, Wanted("vdsr", "resnet18", free=("channels",)), Wanted(LR, "resnet18"))
    records = runs("vdsr", over(gains), {"channels": 8}) + runs(LR, BASE)
    [finding] = judge(NoGain("text", "source", (sr,), margin=0.5), records)  # it starts as its reference does
    assert finding.verdict == verdict
    assert finding.evidence[0].label == "VDSR (channels=8)"


def test_every_value_of_a_free_setting_counts():
    sr = Pair("VDSR", "cifar10", 4, Wanted("vdsr", "resnet18", free=("channels",)), Wanted(LR, "resnet18"))
    records = runs(LR, BASE) + runs("vdsr", over(SURE), {"channels": 8}) + runs("vdsr", over((0, 0.1, 0.05)))
    [finding] = judge(NoGain("text", "source", (sr,), margin=0.5), records)
    assert (finding.verdict, len(finding.evidence)) == (Verdict.NOT_SUPPORTED, 2)


NEAR_PAIRS = tuple(
    Pair(f"R, lam 2 over {lam:g}", "cifar10", 4, *(Wanted("dfd", "resnet18", {"lam": one}) for one in (2.0, lam)))
    for lam in (0.5, 10.0)
)
NEAR = BestNear("text", "source", NEAR_PAIRS, setting="lam", value=2.0, near=(1.0, 5.0))


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ({0.5: -2, 1.0: 0, 5.0: 0, 10.0: -2}, Verdict.SUPPORTED),
        ({0.5: -2, 1.0: 1, 5.0: 0, 10.0: -2}, Verdict.SUPPORTED),  # near it
        ({0.5: 2, 1.0: 1, 5.0: 0, 10.0: -2}, Verdict.NOT_SUPPORTED),
        ({0.5: 2, 1.0: 3, 5.0: 0, 10.0: -2}, Verdict.UNDECIDED),
        ({0.5: 2, 10.0: -2}, Verdict.UNDECIDED),  # what is near may be better still
        ({0.5: -2, 1.0: 0, 5.0: 0}, Verdict.UNDECIDED),
        ({0.5: -2, 1.0: 0, 5.0: 0, 10.0: 0}, Verdict.UNDECIDED),
    ],
)
def test_best_near(gains, verdict):
    records = runs("dfd", BASE)
    for lam, gain in gains.items():
        records += runs("dfd", over([gain + noise for noise in (0.1, -0.1, 0.0)]), {"lam": lam})
    [finding] = judge(NEAR, records)
    assert finding.verdict == verdict, finding.why


def test_protocols_are_never_mixed():
    records = runs("dfd", over(SURE)) + runs(LR, BASE, degradation="area")
    assert [table.conditions for table in made(records)] == ["no run yet of what the claims compare"] * 2
    records += runs(LR, BASE) + runs("dfd", over(UNSURE), degradation="area")
    found = [table.conditions for table in made(records)]
    assert len(set(found)) == 2 and len(found) == 4


def test_the_papers_claims_by_name_and_number():
    assert [(type(claim).__name__, len(claim.pairs)) for claim in PAPER] == [
        ("Above", 12),
        ("Above", 21),
        ("BestNear", 12),
        ("NoGain", 3),
        ("Above", 3),
    ]


def test_the_tables_hold_verdicts_and_ids():
    mine, other = runs("dfd", over(SURE)), runs(LR, BASE)
    failed = [(record("dfd", seed=3).spec, "no space"), (record("dfd", scale=8).spec, "of no claim")]
    verdicts, evidence = made(mine + other, failed)
    assert [note for note in verdicts.notes if "Failed" in note] == [
        "Failed, and missing here: DFD (resnet18) on cifar10 x4, seed 3: no space."
    ]
    first = ["DFD beats its backbone in every cell of Table 1", "as in the paper", "undecided", "1 of 12"]
    assert list(verdicts.shown.iloc[0, :4]) == first
    ids = [one.id for one in mine], [one.id for one in other]
    numbers = evidence.numbers.set_index(["pair", "compared"])
    flat = numbers.loc["DFD (ResNet-18), cifar10 x4", claims.AS_PUBLISHED]
    assert (flat["runs"].split(), flat["other_runs"].split()) == ids
    assert (flat["other_gain"], flat["seeds"], flat["verdict"]) == (1, "0 1 2", "undecided")
    assert flat["other_low"] < 1 < flat["other_high"] and flat["other_p"] == flat["other_p_holm"] < 0.05
    assert flat["epochs_in_weights"] == flat["other_epochs_in_weights"] == 100
    missing = numbers[numbers["other_gain"].isna()]
    assert len(missing) == len(numbers) - len(evidence.shown) > 0 and not missing["runs"].any()
    assert evidence.runs.shape == evidence.shown.shape and evidence.runs.iloc[0, 0] == (*ids[0], *ids[1])


@pytest.mark.parametrize("style", FORMATS)
def test_claims_in_every_format_even_of_nothing(style):
    for records in ([], runs("dfd", over(SURE)) + runs(LR, BASE)):
        text = render(made(records), style)
        assert "undecided" in text
    if style == "json":
        assert {line["verdict"] for line in json.loads(text)} == {"undecided"}


def test_a_broken_plugin_is_named_and_stops_nobody(monkeypatch):
    own = importlib.metadata.entry_points(group=claims.CLAIMS)
    text = "lrbench.report.claims:CLAIMS"  # a text, no claims
    broken = [
        importlib.metadata.EntryPoint(name, value, claims.CLAIMS) for name, value in (("a", "no_module:X"), ("b", text))
    ]
    points = {point.name: [point] for point in [*broken, *own]}
    monkeypatch.setattr(published.registry, "installed", lambda group: points)
    notes = []
    assert len(claims.installed(notes.append)) == len(PAPER)
    assert "'a'" in notes[0] and "no_module" in notes[0] and "'b' is not a sequence" in notes[1]
