"""The statistics, against scipy, against values worked out by hand, and by simulation."""

import itertools
import math

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats

from lrbench.report.stats import (
    CHANCE,
    EXACT,
    Spread,
    bootstrap,
    holm,
    images_sd,
    mcnemar,
    pooled,
    spreads,
    summarise,
    t_interval,
    t_test,
)

DRAW = np.random.default_rng(0)
SAMPLES = [DRAW.normal(1.5, 2.0, n) for n in (2, 3, 5, 10)]


def right(only_one, only_other, both=7):
    """Two classifiers on the same images: whether each was right."""
    one = np.repeat([True, False, True], [only_one, only_other, both])
    return one, np.repeat([False, True, True], [only_one, only_other, both])


@pytest.mark.parametrize("values", SAMPLES, ids=len)
def test_a_summary_is_mean_and_sample_deviation(values):
    found = summarise(list(values))
    assert (found.mean, found.sd, found.n) == (
        pytest.approx(np.mean(values)),
        pytest.approx(scipy.stats.tstd(values)),
        len(values),
    )


@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize("values", SAMPLES, ids=len)
def test_the_t_interval_and_the_t_test_are_scipys(values, level):
    test = scipy.stats.ttest_1samp(values, 0)
    assert t_interval(list(values), level) == pytest.approx(tuple(test.confidence_interval(level)))
    assert t_test(list(values)) == pytest.approx(test.pvalue)


def test_one_seed_has_no_interval_and_equal_gains_leave_no_doubt():
    assert t_interval([1.0]) is None
    assert (t_test([0.5, 0.5, 0.5]), t_test([0.0, 0.0])) == (0.0, 1.0)


def test_spread_is_pooled_by_hand():
    assert pooled([(1, 2, 3), (0, 0, 3), (9,)]) == Spread(pytest.approx(math.sqrt(2)), 4)  # (2 * 1 + 2 * 3) / 4
    assert pooled([(1,), (2,)]) is None and pooled([]) is None
    spread = Spread(math.sqrt(2), 4)
    assert spread.at_least(1) == spread and spread.at_least(3) == Spread(3, 4)
    t = 2 / (math.sqrt(2) / math.sqrt(3))
    assert t_test((1, 2, 3), spread) == pytest.approx(2 * scipy.stats.t.sf(t, 4))
    half = scipy.stats.t.ppf(0.975, 4) * math.sqrt(2 / 3)
    assert t_interval((1, 2, 3), spread=spread) == pytest.approx((2 - half, 2 + half))
    assert t_interval((1,), spread=spread) and t_interval((1,)) is None
    with pytest.raises(ValueError, match="one value"):
        t_test((1,))


def test_what_images_alone_give_by_hand():
    first, second = [1, 1, 0, -1], [0, 0, 0, 1]  # of one seed 3 images differ, net 1; of the other 1, net 1
    assert images_sd(np.array([first])) == pytest.approx(math.sqrt(3 - 1 / 4) / 4)
    assert images_sd(np.array([second])) == pytest.approx(math.sqrt(1 - 1 / 4) / 4)
    both = np.array([first, second], np.int8)
    assert images_sd(both) == pytest.approx(math.sqrt(((3 - 1 / 4) / 16 + (1 - 1 / 4) / 16) / 2))
    assert images_sd(np.zeros((2, 4), np.int8)) == 0


def test_what_images_alone_give_is_the_spread_over_other_images():
    draw, of_one = np.random.default_rng(9), {"a": [-1, 0, 1], "p": [0.06, 0.86, 0.08]}
    tests = draw.choice(size=(400, 2000), **of_one)  # so many tests of so many images
    assert images_sd(tests[:1]) == pytest.approx(tests.mean(axis=1).std(ddof=1), rel=0.1)
    assert 100 * images_sd(draw.choice(size=(3, 10_000), **of_one)) == pytest.approx(0.37, abs=0.02)


def test_rows_that_vary_alike_share_one_spread():
    lucky, usual = (1.19, 1.2, 1.21), [(0.0, 0.4, 0.8), (1.0, 1.5, 1.9), (2.0, 2.2, 2.8)]
    alike = [(0.9, 1.2, 1.5), *usual]
    assert spreads([*alike, (5.0,)], [0] * 5) == [pooled(alike)] * 5
    assert spreads(alike, [2, 0, 0, 0]) == [Spread(2, 8), *[pooled(alike)] * 3]
    assert spreads([(1.0,)], [0]) == [None] and spreads([], []) == []
    assert spreads([(1.0, 1.0), (2.0, 2.0)], [0, 0.4]) == [Spread(0, 2), Spread(0.4, 2)]
    one, *others = spreads([lucky, *usual], [0.37] * 4)
    assert one.sd == 0.37 > 10 * pooled([lucky]).sd and all(0.37 <= other.sd < 0.5 for other in others)


def test_rows_that_vary_differently_are_moderated_by_hand():
    """Four groups of three values, with standard deviations 0.1, 0.3, 1 and 3: Bartlett's p is 0.01."""
    assert scipy.stats.bartlett(*[(-sd, 0.0, sd) for sd in (0.1, 0.3, 1.0, 3.0)]).pvalue < CHANCE
    groups = [(-sd, 0.0, sd) for sd in (0.1, 0.3, 1.0, 3.0)]
    logs = np.log([0.01, 0.09, 1.0, 9.0]) - scipy.special.digamma(1)
    beyond = logs.var(ddof=1) - math.pi**2 / 6  # trigamma(1)
    half = scipy.optimize.brentq(lambda x: scipy.special.polygamma(1, x) - beyond, 0.1, 100)
    variance = math.exp(logs.mean() + scipy.special.digamma(half) - math.log(half))
    for sd, spread in zip((0.1, 0.3, 1.0, 3.0), spreads(groups, [0] * 4), strict=True):
        assert spread.df == pytest.approx(2 * half + 2)
        assert spread.sd == pytest.approx(math.sqrt((2 * half * variance + 2 * sd**2) / (2 * half + 2)), rel=1e-6)


@pytest.mark.parametrize(
    ("sds", "most"), [([0.4] * 14, 0.05), ([0.4] * 13 + [1.0], 0.2), ([0.3] * 6 + [3.75] * 6, 0.15)]
)
def test_rows_of_other_spread_seldom_mark_what_is_not_there(sds, most):
    """The chance of any false mark: 5 % at equal spreads; at unequal ones more, but less than with one for all."""
    draw, wrong = np.random.default_rng(11), 0
    for _ in range(600):
        rows = (draw.normal(size=(len(sds), 3)) * np.array(sds)[:, None]).tolist()
        known = spreads(rows, [0.37] * len(rows))
        wrong += min(holm([t_test(row, spread) for row, spread in zip(rows, known, strict=True)])) < CHANCE
    assert wrong / 600 < most


def marked(gain, own):
    """Of 300 tables of 14 rows of 3 seeds, half of which gain so much: the share of those marked, of tables wrong."""
    draw, found = np.random.default_rng(10), []
    for _ in range(300):
        rows = draw.normal(0, 0.38, (14, 3)) + np.repeat([gain, 0.0], 7)[:, None]
        known = [None] * 14 if own else spreads(rows.tolist(), [0.37] * 14)
        p = [t_test(row, spread) for row, spread in zip(rows.tolist(), known, strict=True)]
        found.append(np.array(holm([*p, *[0.5] * 28])[:14]) < CHANCE)  # among 42 comparisons
    return np.mean([one[:7] for one in found]), np.mean([one[7:].any() for one in found])


def test_a_pooled_spread_finds_what_one_of_three_seeds_cannot():
    assert marked(1.5, own=True)[0] < 0.1
    power, wrong = marked(1.5, own=False)  # 0.99 if one knew that the rows vary alike
    assert power > 0.93 and wrong < CHANCE + 0.02


def test_the_t_interval_covers_and_the_t_test_is_rarely_wrong():
    values = np.random.default_rng(1).normal(0, 1, (2000, 3)).tolist()
    covered = np.mean([low <= 0 <= high for low, high in map(t_interval, values)])
    wrong = np.mean([t_test(seeds) < CHANCE for seeds in values])
    assert covered == pytest.approx(0.95, abs=0.015) and wrong == pytest.approx(0.05, abs=0.015)


# --- McNemar --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [(1, 0), (3, 1), (5, 5), (12, 30), (480, 520)], ids=str)
def test_mcnemar_is_exact_where_few_images_differ(counts):
    assert mcnemar(*right(*counts)) == pytest.approx(scipy.stats.binomtest(counts[0], sum(counts)).pvalue)


@pytest.mark.parametrize("counts", [(501, 500), (560, 500), (600, 500), (5_000, 5_150)], ids=str)
def test_mcnemar_is_the_chi_square_where_many_do_and_near_the_exact_p(counts):
    statistic = (abs(counts[0] - counts[1]) - 1) ** 2 / sum(counts)
    assert mcnemar(*right(*counts)) == mcnemar(*right(*counts[::-1]))
    assert mcnemar(*right(*counts)) == pytest.approx(scipy.stats.chi2.sf(statistic, df=1), rel=1e-9)
    assert mcnemar(*right(*counts)) == pytest.approx(scipy.stats.binomtest(counts[0], sum(counts)).pvalue, rel=0.01)


@pytest.mark.parametrize("differing", [20, 200, EXACT + 500])
def test_mcnemar_finds_what_is_not_there_no_more_often_than_it_says(differing):
    draws = np.random.default_rng(2).binomial(differing, 0.5, 3000)
    wrong = np.mean([mcnemar(*right(k, differing - k, both=0)) < CHANCE for k in draws])
    assert 0.02 < wrong < 0.055  # 0.05 and what 3000 draws are uncertain by; its steps are coarse where few differ


def test_mcnemar_finds_what_is_there():
    draws = np.random.default_rng(3).binomial(400, 0.6, 500)
    assert np.mean([mcnemar(*right(k, 400 - k)) < CHANCE for k in draws]) > 0.95


# --- the bootstrap --------------------------------------------------------------------------------------


def drawn(draw, seeds, images, gain=0.0, spread=0.0):
    """Right or not of one classifier minus the other: a gain, its spread over seeds, and images easy and hard."""
    easy = draw.normal(0, 0.15, images)
    of_seed = draw.normal(gain, spread, (seeds, 1))
    one = draw.random((seeds, images)) < 0.65 + of_seed + easy
    return one.astype(int) - (draw.random((seeds, images)) < 0.65 + easy)


def test_the_bootstrap_of_a_small_case_is_the_one_over_every_resample():
    differences = np.array([[1, 0, -1], [1, 1, 0]])
    means = [
        differences[list(seeds)][:, list(images)].mean()
        for seeds in itertools.product(range(2), repeat=2)
        for images in itertools.product(range(3), repeat=3)
    ]
    for level in (0.5, 0.6, 0.95):
        expected = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
        assert bootstrap(differences, level, resamples=20_000) == pytest.approx(tuple(expected), abs=1e-6)


def test_of_one_seed_the_bootstrap_is_scipys_over_images():
    [gains] = drawn(np.random.default_rng(4), 1, 500, gain=0.05)
    theirs = scipy.stats.bootstrap(
        (gains,), np.mean, n_resamples=5000, method="percentile", rng=np.random.default_rng(0)
    )
    assert bootstrap(gains[None], resamples=5000) == pytest.approx(tuple(theirs.confidence_interval), abs=0.004)


def test_the_bootstrap_is_the_same_each_time_whatever_the_order_of_the_images():
    gains = drawn(np.random.default_rng(5), 4, 300)
    assert bootstrap(gains) == bootstrap(gains) != bootstrap(gains, seed=1)
    assert bootstrap(-gains) == pytest.approx(tuple(-end for end in bootstrap(gains)[::-1]), abs=1e-12)


def coverage(seeds, spread, gain=0.02):
    """The share of 300 experiments in which the bootstrap's interval and the t-interval hold the gain that is there."""
    draw, held = np.random.default_rng(6), []
    for _ in range(300):
        gains = drawn(draw, seeds, 400, gain, spread)
        both = bootstrap(gains, resamples=400), t_interval(list(gains.mean(axis=1))) or (-1, 1)
        held.append([low <= gain <= high for low, high in both])
    return np.mean(held, axis=0)


def test_of_one_seed_the_bootstrap_covers():
    assert 0.92 < coverage(1, 0.0)[0] < 0.98


@pytest.mark.slow
@pytest.mark.parametrize("seeds, spread", [(3, 0.0), (3, 0.03), (10, 0.1)])
def test_where_seeds_differ_image_by_image_the_bootstrap_is_rather_wide(seeds, spread):
    wide, student = coverage(seeds, spread)
    assert wide > 0.92 and student == pytest.approx(0.95, abs=0.03)


def test_where_few_seeds_differ_as_wholes_only_the_t_interval_covers():
    narrow, student = coverage(3, 0.1)
    assert narrow < 0.9 and student == pytest.approx(0.95, abs=0.03)


def test_two_that_never_differ_have_an_interval_of_nothing():
    assert bootstrap(np.zeros((3, 50), int)) == (0.0, 0.0)


def test_the_bootstrap_over_images_alone_would_miss_the_spread_of_seeds():
    gains = np.repeat([[0], [1], [0], [1]], 500, axis=1)  # all of the spread is of seeds
    low, high = bootstrap(gains)
    assert high - low >= 0.5 and bootstrap(gains.reshape(1, -1))[1] - bootstrap(gains.reshape(1, -1))[0] < 0.05


# --- Holm -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "p, corrected",
    [
        ([], []),
        ([0.03], [0.03]),
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # x3, x1 but no less than before, x2, x4
        ([0.5, 0.6], [1.0, 1.0]),
        ([0.02, 0.02], [0.04, 0.04]),
    ],
    ids=len,
)
def test_holm_by_hand(p, corrected):
    assert holm(p) == pytest.approx(corrected)


def test_holm_rejects_what_stepping_down_rejects():
    for p in np.random.default_rng(7).uniform(0, 0.1, (50, 6)):
        order, rejected = np.argsort(p), set()
        for rank, place in enumerate(order):
            if p[place] >= CHANCE / (len(p) - rank):
                break
            rejected.add(place)
        assert {place for place, value in enumerate(holm(list(p))) if value < CHANCE} == rejected


def test_holm_keeps_any_false_rejection_rare_and_finds_more_than_bonferroni():
    draw, found, wrong, bonferroni = np.random.default_rng(8), [], [], []
    for _ in range(1500):
        p = draw.uniform(size=8)
        p[:4] = [math.erfc(abs(z) / math.sqrt(2)) for z in draw.normal(2.8, 1, 4)]  # four differences are there
        rejected = np.array(holm(list(p))) < CHANCE
        found.append(rejected[:4].sum())
        wrong.append(rejected[4:].any())
        bonferroni.append((p[:4] < CHANCE / 8).sum())
    assert np.mean(wrong) < CHANCE + 0.012 and np.mean(found) > np.mean(bonferroni)
