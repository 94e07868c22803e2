"""Comparisons that are made together: whose spread they share, what they are corrected for, and what is left out."""

import json
import math

import numpy as np
import pytest
import scipy.stats
from helpers.records import LR, diverged, record
from helpers.tables import fill, notes

from lrbench.report.claims import Above, Pair, Verdict
from lrbench.report.compare import family, numbers
from lrbench.report.frame import defaults, frame, tables
from lrbench.report.notes import about_family
from lrbench.report.stats import CHANCE, Spread, bootstrap, images_sd, mcnemar
from lrbench.report.table import marked, table
from lrbench.report.ways import Runs, Wanted, comparison

N = 1000


def compare(mine, its, right):
    """Some records minus others."""
    return comparison(frame(mine), frame(its), right)


class Networks:
    """Records with which of N images they get right; `right` is what comparisons ask."""

    def __init__(self):
        self.hits, self.draw = {}, np.random.default_rng(0)

    def add(self, method, top1, seed, noise=0.1, **changes):
        """A run that is right on so many percent: the first ones, but for a share of images where all is luck."""
        count = round(top1 * N / 100)
        hit = np.arange(N) < count
        moved = round(noise * N / 2)
        hit[self.draw.choice(count, moved, replace=False)] = False
        hit[count + self.draw.choice(N - count, moved, replace=False)] = True
        one = record(method, 100 * hit.mean(), seed, **changes)
        one = one.model_copy(update={"data": one.data.model_copy(update={"test_images": N})})
        self.hits[one.id] = hit
        return one

    def right(self, run):
        return self.hits[run]

    def compared(self, gains, noise=0.1, method="dfd", **changes):
        """A comparison of so many seeds that gain so many points, each a whole number of images."""
        mine = [self.add(method, 60 + gain, seed, noise, **changes) for seed, gain in enumerate(gains)]
        its = [self.add(LR, 60, seed, noise, **{"backbone": changes.get("backbone", "resnet18")}) for seed in range(3)]
        return compare(mine, its, self.right)


@pytest.fixture
def networks():
    return Networks()


def test_a_comparison_alone_has_its_own_spread_and_the_images(networks):
    one = networks.compared((1.0, 5.0, 3.0))  # sd 2
    assert one.gains == pytest.approx((1, 5, 3)) and one.of_ways and one.corrected is None
    floor = 100 * images_sd(one.differences)
    assert one.images_sd == pytest.approx(floor) and 1.2 < floor < 2  # some 200 of 1000 images differ
    assert one.spread == Spread(pytest.approx(2), 2) and one.p == pytest.approx(one.own_p)
    assert one.p == pytest.approx(scipy.stats.ttest_1samp(one.gains, 0).pvalue)
    lucky = networks.compared((3.0, 3.0, 3.1))
    assert lucky.spread == Spread(pytest.approx(100 * images_sd(lucky.differences)), 2)
    assert (
        lucky.own_p
        < 0.001
        < lucky.p
        == pytest.approx(2 * scipy.stats.t.sf(lucky.gain / (lucky.images_sd / math.sqrt(3)), 2))
    )


def test_an_interval_of_images_is_the_wider_of_t_and_bootstrap(networks):
    for gains in ((1.0, 5.0, 3.0), (3.0, 3.0), (2.0,)):
        one = networks.compared(gains)
        resampled = tuple(100 * end for end in bootstrap(one.differences))
        ends = [resampled, *([one.over_seeds] if len(gains) > 1 else [])]
        assert one.interval == max(ends, key=lambda both: both[1] - both[0])
    assert networks.compared((2.0,)).over_seeds is None
    lucky = networks.compared((3.0, 3.0, 3.1), noise=0.3)
    half = scipy.stats.t.ppf(0.975, 2) * lucky.images_sd / math.sqrt(3)
    assert lucky.over_seeds == pytest.approx((lucky.gain - half, lucky.gain + half))


def test_comparisons_made_together_share_a_spread_and_a_family_in_their_places(networks):
    alone = [networks.compared(gains) for gains in ((6.0, 2.0, 4.0), (4.0, 3.0, 8.0), (5.0,), (2.0, 1.0), (0.2,))]
    made = family(alone)
    assert [one.gains for one in made] == [one.gains for one in alone]
    squares = sum(sum((gain - one.gain) ** 2 for gain in one.gains) for one in alone)
    sd = math.sqrt(squares / 5)  # 2 + 2 + 1 degrees of freedom
    assert [one.spread for one in made if not one.of_networks] == [
        Spread(pytest.approx(max(sd, one.images_sd)), 5) for one in made if not one.of_networks
    ]
    ways = [made[0], made[1]]
    for one in ways:
        t = one.gain / (one.spread.sd / math.sqrt(3))
        assert one.p == pytest.approx(2 * scipy.stats.t.sf(t, 5))
    small, large = sorted(one.p for one in ways)
    assert sorted(one.corrected for one in ways) == pytest.approx([2 * small, max(2 * small, large)])
    networks_p = [made[2].mcnemar[0], made[4].mcnemar[0]]
    assert [made[2].corrected, made[4].corrected] == pytest.approx(
        [2 * networks_p[0], max(2 * networks_p[0], networks_p[1])]
    )
    assert made[3].corrected is None and not made[3].beyond_chance  # two seeds are in neither family


def test_comparisons_of_equal_value_are_two(networks):
    one = networks.compared((6.0, 2.0, 4.0))
    twins = family([one, compare_again(one), one])
    assert [twin.corrected for twin in twins] == [min(1, 3 * twins[0].p)] * 3
    assert one != compare_again(one) and len({one, compare_again(one)}) == 2


def compare_again(one):
    return type(one)(**{name: getattr(one, name) for name in type(one).__dataclass_fields__})


def test_marks_of_ways_want_three_seeds_and_those_of_networks_one(networks):
    gains = ((9.0, 9.1, 9.4), (9.0, 9.5), (9.0,), (0.1, 0.2, 0.0))
    shown = [marked(one)[-1] for one in family([networks.compared(each) for each in gains])]
    assert shown == ["*", ")", "‡", ")"]
    assert marked(None) == "-"
    told = about_family(family([networks.compared(each) for each in gains]))
    ways = "*: more than chance (p < 0.05, corrected for 2 comparisons); 1 of them is."
    assert told == f"{ways} ‡: one seed, more than chance (p < 0.05, one comparison); it is."
    none = about_family(family([networks.compared((0.1,)), networks.compared((0.1,))]))
    assert none == "‡: one seed, more than chance (p < 0.05, corrected for 2 comparisons); none of them is."
    [alone] = family([networks.compared((0.1, 0.2, 0.0))])
    assert about_family([alone]) == "*: more than chance (p < 0.05, one comparison); it is not."
    assert about_family([networks.compared((9.0, 9.5))]) == "No difference has the seeds to be tested."


def test_what_diverged_is_in_no_gain_and_is_counted(networks):
    mine = [networks.add("dfd", 65 + seed, seed) for seed in range(3)]
    its = [networks.add(LR, 60, seed) for seed in range(3)]
    one = compare([mine[0], diverged(mine[1]), mine[2]], its, networks.right)
    assert (one.seeds, one.diverged, one.gain) == ((0, 2), (1,), pytest.approx(6))
    assert str(one) == "+6.00 (2 of 2; 1 diverged)" and not one.beyond_chance
    assert compare(mine, [diverged(one) for one in its], networks.right) is None
    assert numbers("it", one)["it_diverged"] == 1 and set(numbers("it", None)) == set(numbers("it", one))


def test_the_flat_numbers_have_both_tests_and_both_intervals(networks):
    [one] = family([networks.compared((3.0, 3.0, 3.1))])
    flat = numbers("reference", one)
    assert flat["reference_gain"] == pytest.approx(3.0333, abs=1e-4) and flat["reference_n"] == 3
    assert flat["reference_p"] == pytest.approx(one.p, rel=1e-5) != flat["reference_own_p"]
    assert flat["reference_own_p"] == pytest.approx(scipy.stats.ttest_1samp(one.gains, 0).pvalue, rel=1e-5)
    assert flat["reference_low"] <= flat["reference_t_low"] < one.gain < flat["reference_t_high"]
    assert flat["reference_low"] <= flat["reference_images_low"] < one.gain < flat["reference_images_high"]
    assert (flat["reference_low"], flat["reference_high"]) == pytest.approx(one.interval, abs=1e-6)
    assert (flat["reference_df"], flat["reference_sd"]) == (2, pytest.approx(one.images_sd, abs=1e-4))
    json.dumps(flat)


def published_runs(networks, seeds=3):
    """Table 1's ResNet-18 rows at 8x8 and VGG-16's."""
    gains = {"resnet18": (2.0, 3.0, 6.0), "vgg16": (2.0, 2.5, 1.0)}
    return [
        networks.add(method, 60 + (gains[backbone][seed] if method == "dfd" else 0), seed, backbone=backbone)
        for backbone in gains
        for method in ("dfd", LR)
        for seed in range(seeds)
    ]


def marks(filled):
    return {
        (row.label, label): numbers("reference", cell.reference)
        for row in filled.rows
        for label, cell in zip(filled.columns, row.cells, strict=True)
        if cell.reference
    }


def test_no_run_that_is_added_changes_a_mark_of_table_1(networks):
    own = published_runs(networks)
    [before] = fill("1", own, networks.right)
    added = [
        networks.add(method, 60 + seed, seed, settings=settings, **changes)
        for method, settings, changes in (
            ("dfd", {"lam": 0.5}, {}),
            ("dfd", {"init": "lr-baseline"}, {}),
            (LR, {"init": "lr-baseline"}, {}),
            ("vdsr", {}, {}),
            ("hr-baseline", {}, {}),
            ("dfd", {}, {"dataset": "svhn-partial"}),
            (LR, {}, {"dataset": "svhn-partial"}),
            ("dfd", {}, {"batch_size": 32}),
            ("dfd", {}, {"spec": {"protocol": 1}}),
            ("dfd", {}, {"scale": 8}),
        )
        for seed in range(3)
    ]
    after = fill("1", own + added, networks.right)
    assert len(marks(before)) == 2 and marks(after[0]) == marks(before)
    assert len(before.comparisons) == len(after[0].comparisons) == 2
    assert [row.label for row in after[0].rows] == [row.label for row in before.rows]


def test_runs_at_another_width_change_nothing_in_a_published_table(networks):
    own = published_runs(networks)
    [before] = fill("1", own, networks.right)
    added = [networks.add(method, 70 + seed, seed, spec={"width": 0.5}) for method in ("dfd", LR) for seed in range(3)]
    [after] = fill("1", own + added, networks.right)
    assert [row.label for row in after.rows] == [row.label for row in before.rows]
    assert marks(after) == marks(before)


def test_runs_that_a_table_does_not_ask_for_do_not_choose_its_width(networks):
    own = published_runs(networks)
    [before] = fill("1", own, networks.right)
    others = [networks.add("hr-direct", 40, seed, spec={"width": 0.5}) for seed in range(5)]
    others += [networks.add("dfd", 70, seed, dataset="mine", spec={"width": 0.5}) for seed in range(5)]
    [after] = fill("1", own + others, networks.right)
    assert marks(after) == marks(before) and not after.other_widths
    asked = [networks.add(LR, 60, 0, scale=2, spec={"width": 0.5})]
    [after] = fill("1", own + asked, networks.right)
    assert marks(after) == marks(before)
    assert "not shown here: resnet18 x0.5; `lrbench table leaderboard` has it" in notes(after)


def test_another_precision_that_is_tried_later_replaces_nothing(networks):
    own = published_runs(networks)
    [before] = fill("1", own, networks.right)
    later = [networks.add("dfd", 50, seed, spec={"precision": "bf16"}, finished="2027") for seed in range(3)]
    [after] = fill("1", own + later, networks.right)
    assert marks(after) == marks(before)


def test_one_comparison_that_is_reference_and_control_is_one(networks):
    [filled] = fill("1", published_runs(networks), networks.right)
    assert len(filled.comparisons) == 2
    assert not [head for head in table(filled).shown if "control" in head]
    assert "Budgets" not in notes(filled)


def test_mcnemar_is_of_one_seed_alone(networks):
    [filled] = fill("1", published_runs(networks, 1), networks.right)
    for flat in marks(filled).values():
        assert flat["reference_p"] == pytest.approx(float(flat["reference_mcnemar_p"]), rel=1e-2)
        assert flat["reference_n"] == 1 and flat["reference_own_p"] is None
    for one in filled.comparisons:
        [differences] = one.differences
        assert one.p == mcnemar(differences > 0, differences < 0)
        assert one.beyond_chance == (one.corrected < CHANCE)


def test_a_row_is_compared_with_its_reference_at_its_own_precision(networks):
    own = published_runs(networks)
    [before] = fill("1", own, networks.right)
    added = [networks.add(LR, 50, seed, spec={"precision": "bf16"}) for seed in range(4)]
    [after] = fill("1", own + added, networks.right)
    assert marks(after) == marks(before)


def test_runs_at_another_width_change_no_verdict_and_are_no_evidence(networks):
    pair = Pair("one", "cifar10", 4, Wanted("dfd", "resnet18"), Wanted(LR, "resnet18"))
    claim = Above("one is better", "nowhere", (pair,))

    def judged(runs):
        results = frame(runs)
        [found] = tables(results)
        [finding] = claim.judge(Runs(found, defaults(results)), networks.right)
        return finding

    own = [networks.add(method, top1, seed) for method, top1 in (("dfd", 70), (LR, 60)) for seed in range(3)]
    assert judged(own).verdict == Verdict.SUPPORTED
    narrow = [networks.add(method, 60, 0, spec={"width": 0.125}) for method in ("dfd", LR)]
    assert judged(own + narrow).verdict == Verdict.SUPPORTED
    apart = [networks.add("dfd", 70, seed, spec={"width": 0.5}) for seed in range(3)]
    finding = judged(apart + [networks.add(LR, 60, seed) for seed in range(3)])
    assert finding.verdict == Verdict.UNDECIDED and [one.comparison for one in finding.evidence] == [None]
