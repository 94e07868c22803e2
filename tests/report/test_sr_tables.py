"""The quality table of SR nets, the SR rows of the published tables, and the comparison with a reference."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from helpers.extras import needs_basicsr
from helpers.records import LR, PLAIN, net, record
from helpers.tables import cell, fill, lines, read, render, row, table

from lrbench.report import formats, published, sr
from lrbench.report.compare import Comparison
from lrbench.report.formats import FORMATS
from lrbench.report.frame import frame
from lrbench.report.stats import mcnemar

MEASURES = ("psnr", "ssim", "psnr_y", "ssim_y")


def tables(records, failures=()):
    """The tables of SR nets that come of the records."""
    return sr.tables(frame(records, failures))


def body(one):
    """The lines of a table."""
    return [list(line) for line in one.shown.to_numpy()]


def shown(one):
    """The lines of a table, by the row's name."""
    return {line[0]: line[1:] for line in body(one)}


def test_bicubic_stands_first_and_every_net_below():
    records = [net("sr-vdsr", 26.0), record(LR), net("sr-espcn", 25.0), record("espcn")]
    [one] = tables(records)
    assert list(one.shown) == ["", "trained", "PSNR RGB (dB)", "SSIM RGB", "PSNR Y (dB)", "SSIM Y"]
    assert [line[0] for line in body(one)] == ["bicubic", "ESPCN (SR net)", "VDSR (SR net)"]
    assert shown(one)["bicubic"] == ["-", "21.25", "0.6250", "22.75", "0.6875"]
    assert shown(one)["VDSR (SR net)"] == [
        "paper, 100 epochs, 50,000 pairs, fp32", "26.00 (1)", "0.5200 (1)", "27.50 (1)", "0.6500 (1)"
    ]  # fmt: skip
    assert one.conditions == "cifar10 8x8 to 16x16, pil-bicubic, 10,000 test images"


def test_a_nets_numbers_are_mean_and_sample_deviation_over_seeds():
    values = np.random.default_rng(0).normal(25, 1, 4)
    [one] = tables([net(psnr=psnr, seed=seed) for seed, psnr in enumerate(values)])
    _, psnr, ssim, psnr_y, _ = shown(one)["ESPCN (SR net)"]
    assert psnr == f"{values.mean():.2f} ± {values.std(ddof=1):.2f} (4)"
    assert ssim == f"{(values / 50).mean():.4f} ± {(values / 50).std(ddof=1):.4f} (4)"
    assert psnr_y == f"{values.mean() + 1.5:.2f} ± {values.std(ddof=1):.2f} (4)"


def test_a_measure_that_an_image_is_too_small_for_is_a_dash():
    small = net()
    small = small.model_copy(update={"metrics": small.metrics | {"ssim": None, "bicubic_ssim": None}})
    [one] = tables([small])
    assert shown(one)["ESPCN (SR net)"][2] == shown(one)["bicubic"][2] == "-"
    assert shown(one)["ESPCN (SR net)"][1] == "25.00 (1)"


@pytest.mark.parametrize(
    "other",
    [
        {"settings": {"sr_scale": 4}},
        {"degradation": "area"},
        {"limit_test": 1000},
        {"dataset": "svhn"},
        {"scale": 2},
        {"spec": {"fingerprint": {"train": "1a", "test": "changed"}}},
    ],
    ids=lambda other: next(iter(other)),
)
def test_nets_put_to_different_tests_never_share_a_table(other):
    found = tables([net(psnr=20.0), net(psnr=30.0, **other)])
    assert [len(one.shown) for one in found] == [2, 2]
    assert {body(one)[1][2] for one in found} == {"20.00 (1)", "30.00 (1)"}


@pytest.mark.parametrize(
    "other", [{"limit_train": 10_000}, {"epochs": 7}, {"recipe": "quick"}, {"select": "best-epoch"}], ids=str
)
def test_nets_trained_otherwise_share_a_table_and_no_row(other):
    [one] = tables([net(psnr=20.0), net(psnr=30.0, **other)])
    assert sorted(line[2] for line in body(one)[1:]) == ["20.00 (1)", "30.00 (1)"]
    assert len({tuple(line[:2]) for line in body(one)[1:]}) == 2


def test_what_the_classifier_is_like_moves_no_net_to_another_row():
    [one] = tables([net(seed=0, width=1.0), net(seed=1, width=0.25), net(seed=2, backbone="alexnet")])
    assert shown(one)["ESPCN (SR net)"][1] == "25.00 ± 0.00 (3)"


def test_epochs_are_those_of_all_stages_and_pairs_those_of_the_run():
    records = [net("sr-srresnet", epochs=30, limit_train=10_000), net("sr-srgan", epochs=30, limit_train=10_000)]
    records += [net("sr-vdsr", epochs=30, limit_train=10_000, settings={"sr_pairs": "all", "sr_epochs": 50})]
    [one] = tables(records)
    assert {name: line[0] for name, line in shown(one).items()} == {
        "bicubic": "-",
        "SRGAN (SR net)": "paper, 60 epochs, 10,000 pairs, fp32",
        "SRResNet (SR net)": "paper, 30 epochs, 10,000 pairs, fp32",
        "VDSR (SR net) sr_epochs=50 sr_pairs=all": "paper, 50 epochs, 50,000 pairs, fp32",
    }


@needs_basicsr
def test_which_network_of_basicsrs_is_always_said_and_settings_are_written_as_set_takes_them():
    found = frame([record("basicsr", settings={"args": {"num_feat": 8}}), record("basicsr")])
    assert list(found["name"]) == ['BasicSR arch=EDSR args={"num_feat": 8}', "BasicSR arch=EDSR"]


def test_seeds_that_lose_are_counted_apart():
    def said(*numbers):
        return str(Comparison(*numbers, differences=np.zeros((len(numbers[0]), 1), np.int8)))

    assert said((0, 1, 2), (3.0, 2.0, -0.5), (0.01, 0.2, 0.03)) == "+1.50 (1 of 3, 1 against)"
    assert said((0, 1), (-3.0, -2.0), (0.01, 0.02)) == "-2.50 (2 of 2)"


def test_an_sr_net_that_diverged_is_in_no_mean_and_counted():
    nets = [net(psnr=20.0 + seed, seed=seed) for seed in range(3)]
    [one] = tables([*nets[:2], nets[2].model_copy(update={"status": "diverged", "why": "no number"})])
    assert shown(one)["ESPCN (SR net)"][1] == "20.50 ± 0.71 (2 of 3; 1 diverged)"
    assert list(one.numbers.loc[1, ["n", "diverged", "psnr_mean"]]) == [2, 1, 20.5]
    [one] = tables([nets[2].model_copy(update={"status": "diverged"})])
    assert shown(one)["ESPCN (SR net)"][1] == "diverged (1)"


def test_an_sr_net_that_failed_is_named_below_its_table():
    failed = [
        (net(seed=4).spec, "no space"),
        (net(seed=5, dataset="svhn").spec, "of another"),
        (record().spec, "no net"),
    ]
    [one] = tables([net()], failed)
    assert [note for note in one.notes if "Failed" in note] == [
        "Failed, and missing here: ESPCN (SR net) on cifar10 x4, seed 4: no space."
    ]
    [empty] = tables([], failed)
    assert len([note for note in empty.notes if "Failed" in note]) == 2


def test_nets_that_differ_in_what_the_table_does_not_show_are_told_apart_by_their_runs():
    old, new = net("sr-espcn", spec={"version": "0"}), net("sr-espcn", 26.0)
    [one] = tables([old, new])
    assert {line[0] for line in body(one)[1:]} == {f"ESPCN (SR net) [{run.id}]" for run in (old, new)}


@pytest.mark.parametrize("records", [[], [record(LR), record("espcn")]], ids=["empty", "classifiers"])
def test_without_an_sr_net_the_table_says_so(records):
    [one] = tables(records)
    assert (len(one.shown), one.conditions) == (0, "no run yet")
    assert "No SR net has been run yet" in str(one)
    assert json.loads(formats.render([one], "json")) == []


@pytest.mark.parametrize("style", FORMATS)
@pytest.mark.parametrize("records", [[], [net(), net("sr-vdsr", 26.125), net(degradation="area")]], ids=len)
def test_every_format_renders(records, style):
    text = formats.render(tables(records), style)
    assert text.endswith("\n")
    assert ("26.1" in text) == bool(records)


@pytest.mark.parametrize("style", ["csv", "json"])
def test_the_long_form_has_every_number(style):
    values = np.random.default_rng(1).normal(25, 1, 3)
    records = [net(psnr=psnr, seed=seed) for seed, psnr in enumerate(values)]
    found = read(formats.render(tables([*records, net("sr-vdsr", settings={"sr_scale": 4})]), style), style)
    assert [one["row"] for one in found] == ["bicubic", "ESPCN (SR net)", "bicubic", "VDSR (SR net) sr_scale=4"]
    plain, espcn, _, vdsr = found
    for name in MEASURES:
        of_seeds = np.array([one.metrics[name] for one in records])
        assert float(espcn[f"{name}_mean"]) == pytest.approx(of_seeds.mean(), abs=1e-5)
        assert float(espcn[f"{name}_sd"]) == pytest.approx(of_seeds.std(ddof=1), abs=1e-5)
        assert float(plain[f"{name}_mean"]) == PLAIN[f"bicubic_{name}"]
    assert (int(espcn["n"]), espcn["seeds"], espcn["runs"]) == (3, "0 1 2", " ".join(one.id for one in records))
    assert (espcn["size"], espcn["restored_size"], vdsr["restored_size"]) == ("8x8", "16x16", "32x32")
    assert (int(espcn["epochs_in_weights"]), int(espcn["data.train_images"]), int(espcn["data.test_images"])) == (
        100,
        50_000,
        10_000,
    )
    assert json.loads(vdsr["config"])["sr_scale"] == 4 and vdsr["psnr_sd"] in (None, "")


# --- the SR rows of Table 2 -----------------------------------------------------------------------------


def test_settings_that_the_paper_leaves_open_stand_in_published_rows_of_their_own():
    records = [record("vdsr", 81.0), record("vdsr", 82.0, settings={"sr_scale": 4})]
    records += [record("vdsr", 83.0, settings={"sr_pairs": "all"}), record("espcn", 84.0)]
    records += [record("vdsr", 85.0, settings={"sr_pairs": "all"}, seed=1)]
    filled = table(records, "2")
    label = "VDSR to 16x16 + ResNet-18"
    scores = {label: 81.0, "VDSR to 32x32 + ResNet-18": 82.0, f"{label}, sr_pairs=all": 84.0}
    assert {one.label for one in filled.rows if one.label.startswith("VDSR")} == set(scores)
    for name, score in scores.items():
        found = cell(filled, name)
        assert (found.published, found.ours["top1_mean"]) == (80.00, score)
        assert found.difference == pytest.approx(score - 80.00)
    assert cell(filled, "ESPCN to 16x16 + ResNet-18").ours["top1_mean"] == 84.0
    assert cell(filled, "SRGAN + ResNet-18").ours is None


def test_only_the_open_setting_that_was_run_is_shown():
    filled = table([record("srgan", 81.0, settings={"sr_scale": 4, "sr_epochs": 9})], "2")
    assert [one.label for one in filled.rows if "SRGAN" in one.label] == ["SRGAN to 32x32 + ResNet-18, sr_epochs=9"]


def test_the_published_rows_stand_in_the_papers_order():
    records = [record("dfd"), record("vdsr", settings={"sr_scale": 4}), record("dfd", settings={"lam": 0.5})]
    labels = [one.label for one in table([*records, record("vdsr")], "2").rows]
    papers = [label.split(" +")[0].split(" (")[0] for label in labels]
    assert papers == ["HR-baseline", "LR-baseline", "VDSR to 16x16", "VDSR to 32x32", "ESPCN", "SRGAN", "DFD"]


def test_a_setting_that_the_paper_fixes_is_no_row():
    others = [record("vdsr", 81.0, settings={"lr": 0.5}), record("vdsr", 81.0, settings={"init": "teacher"})]
    filled = table([*others, record()], "2")
    assert cell(filled, "VDSR + ResNet-18").ours is None
    assert [one.label for one in filled.rows] == [one.label for one in table([], "2").rows]


def test_a_run_on_another_backbone_is_no_row():
    filled = table([record("vdsr", 81.0), record("vdsr", 70.0, backbone="alexnet")], "2")
    assert cell(filled, "VDSR to 16x16 + ResNet-18").ours["top1_mean"] == 81.0 and "alexnet" not in render([filled])
    assert table([record("vdsr", 70.0, backbone="alexnet")], "2").run is None


@pytest.mark.parametrize("name", ["1", "2"])
def test_sr_nets_never_enter_a_published_table(name):
    nets = [net(method) for method in ("sr-vdsr", "sr-espcn", "sr-srresnet", "sr-srgan")]
    assert table(nets, name).run is None
    filled = table([*nets, record()], name)
    assert [run for one in filled.rows for run in one.runs["id"]] == [record().id] and "(SR net)" not in render(
        [filled]
    )


def test_the_z_values_of_the_note_are_those_of_two_proportions():
    [note] = [note for note in published.table("2").notes if "z =" in note]
    reference, n = 79.86, 10_000
    for method, top1 in {"VDSR": 80.00, "ESPCN": 79.41, "SRGAN": 79.05}.items():
        pooled = (top1 + reference) / 200
        z = (top1 - reference) / 100 / math.sqrt(2 * pooled * (1 - pooled) / n)
        [said] = re.findall(rf"(-?\d\.\d\d) \({method}\)", note)
        assert said == f"{z:.2f}" and abs(z) < scipy.stats.norm.isf(0.025)
    assert f"{n:,} images" in note and "unpaired" in note
    paired = (79.05 - reference) / 100 / math.sqrt(0.16 / n)  # some 16 % of the images differ between such networks
    assert paired == pytest.approx(-2, abs=0.05) and "z = -2" in note


@pytest.mark.parametrize(
    "name, words",
    [
        ("1", ("flipped", "digits")),
        ("1", ("peak learning rate",)),
        ("2", ("16x16", "32x32")),
        ("2", ("peak learning rate",)),
    ],
)
def test_what_a_reviewer_will_ask_stands_in_the_notes(name, words):
    assert any(all(word in note for word in words) for note in published.table(name).notes)


# --- McNemar --------------------------------------------------------------------------------------------


def right(only_one, only_other, both=7, neither=5):
    """Two classifiers on the same images, in no order: whether each was right."""
    pairs = [(1, 0)] * only_one + [(0, 1)] * only_other + [(1, 1)] * both + [(0, 0)] * neither
    one, other = np.random.default_rng(0).permutation(pairs).astype(bool).T
    return one, other


@pytest.mark.parametrize("counts", [(1, 0), (0, 1), (3, 1), (5, 5), (2, 9), (0, 6), (12, 30), (41, 40)], ids=str)
def test_mcnemar_is_the_sum_over_outcomes_as_unlikely(counts):
    n = sum(counts)
    tail = sum(math.comb(n, k) for k in range(min(counts) + 1))
    assert mcnemar(*right(*counts)) == pytest.approx(min(1.0, 2 * tail / 2**n), rel=1e-12)


@pytest.mark.parametrize("counts", [(520, 480), (560, 440), (5_000, 5_150)], ids=str)
def test_mcnemar_is_near_its_approximation_where_many_differ(counts):
    statistic = (abs(counts[0] - counts[1]) - 1) ** 2 / sum(counts)  # with Edwards's correction
    assert mcnemar(*right(*counts)) == pytest.approx(scipy.stats.chi2.sf(statistic, df=1), rel=0.02)


def test_mcnemar_without_a_difference_is_one():
    assert mcnemar(*right(0, 0)) == mcnemar(*right(0, 0, both=0)) == mcnemar(*right(0, 0, neither=0)) == 1.0


@pytest.mark.parametrize("counts", [(3, 1), (0, 6), (12, 30)], ids=str)
def test_mcnemar_is_symmetric_and_blind_to_what_both_share(counts):
    one, other = right(*counts)
    assert mcnemar(one, other) == mcnemar(other, one) == mcnemar(*right(*counts, both=900, neither=0))


# --- the comparison with the LR-baseline ----------------------------------------------------------------

TRAINED_ON = published.PublishedTable(
    "Trained on", "nobody", "none", (("cifar10", 4, 32),),
    tuple(
        published.PublishedRow(label, method, "resnet18", (None,), {"init": init})
        for label, method, init in (
            ("LR-baseline", LR, "scratch"),
            ("LR-baseline, trained on", LR, "lr-baseline"),
            ("LR-baseline, from the teacher", LR, "teacher"),
            ("DFD, trained on", "dfd", "lr-baseline"),
        )
    ),
    reference=LR,
)  # fmt: skip

N = 400


class Stored:
    """Runs with predictions: each is right on its first so many images, and on no other."""

    def __init__(self):
        self.records, self.kept, self.read = [], {}, []

    def add(self, method, first, seed=0, **changes):
        labels = np.arange(N) % 10
        predicted = np.where(np.arange(N) < first, labels, (labels + 1) % 10)
        one = record(method, 100 * first / N, seed, **changes)
        self.kept[one.id] = predicted == labels
        self.records.append(one)
        return one

    def right(self, run):
        self.read.append(run)
        return self.kept[run]

    def fill(self, name="2"):
        [filled] = fill(name, self.records, self.right)
        return filled


@pytest.fixture
def stored():
    """LR-baseline of seeds 0 to 2, DFD of seeds 1 to 3, and runs that are not compared."""
    stored = Stored()
    for seed, first in enumerate((200, 210, 220)):
        stored.add(LR, first, seed)
    for seed, first in ((1, 213), (2, 240), (3, 400)):
        stored.add("dfd", first, seed)
    stored.add("hr-baseline", 390)
    return stored


def test_the_gain_is_over_the_seeds_that_both_have(stored):
    found = cell(stored.fill(), "DFD (ResNet-18)")
    assert found.ours["n"] == 3
    assert found.reference.gain == pytest.approx(((213 - 210) + (240 - 220)) / 2 / N * 100)


def test_there_is_a_p_for_each_shared_seed(stored):
    found = cell(stored.fill(), "DFD (ResNet-18)").reference
    assert found.mcnemar == pytest.approx((2 / 2**3, 2 / 2**20))  # 3 and 20 images, all of them gained
    assert str(found) == "+2.88 (1 of 2)"


def test_a_row_without_a_shared_seed_is_not_compared(stored):
    stored.add("vdsr", 300, seed=7)
    stored.add("espcn", 150, seed=0)
    filled = stored.fill()
    assert cell(filled, "VDSR to 16x16 + ResNet-18").reference is None
    assert str(cell(filled, "ESPCN to 16x16 + ResNet-18").reference) == "-12.50 (1 of 1)"


def test_hr_rows_and_the_reference_itself_are_not_compared(stored):
    filled = stored.fill()
    assert row(filled, "HR-baseline").hr and cell(filled, "HR-baseline").ours["top1_mean"] == 97.5
    assert cell(filled, "HR-baseline").reference is None and cell(filled, "LR-baseline").reference is None
    assert cell(filled, "SRGAN + ResNet-18").reference is None  # not run
    assert not {one.id for one in stored.records if one.spec.method == "hr-baseline"} & set(stored.read)


def test_the_reference_at_other_settings_is_compared(stored):
    stored.add(LR, 260, 0, settings={"init": "teacher"})
    [filled] = fill(TRAINED_ON, stored.records, stored.right)
    assert cell(filled, "LR-baseline, from the teacher").reference.gain == pytest.approx(15.0)


def test_runs_under_other_conditions_are_not_compared(stored):
    stored.add("vdsr", 300, dropout=0.25)
    filled = fill("2", stored.records, stored.right)
    found = {one.run["dropout"]: one for one in filled}
    assert cell(found[0.25], "VDSR to 16x16 + ResNet-18").ours["top1_mean"] == 75.0
    assert cell(found[0.25], "VDSR to 16x16 + ResNet-18").reference is None
    assert cell(found[0.0], "DFD (ResNet-18)").reference is not None


def test_the_comparison_has_a_column_and_a_note(stored):
    filled = stored.fill()
    head, *body = lines(filled)
    assert head[1:5] == ["cifar10 8x8", "published", "difference", "vs LR-baseline"]  # budgets are equal: no more
    compared = {line[0]: line[4] for line in body}
    assert compared.pop("DFD (ResNet-18)") == "+2.88 (1 of 2)" and set(compared.values()) == {"-"}
    for style in ("md", "latex"):
        assert "McNemar" in render([filled], style) and "vs LR-baseline" in render([filled], style)


def test_a_table_without_a_reference_compares_nothing(stored):
    [filled] = fill(replace(published.table("2"), reference=None), stored.records, stored.right)
    assert "McNemar" not in render([filled]) and "vs LR-baseline" not in render([filled])
    assert stored.read == []


def test_without_predictions_nothing_is_compared(stored):
    text = render([table(stored.records, "2")])
    assert "McNemar" not in text and "vs LR-baseline" not in text


def test_the_control_of_a_row_started_as_it_did(stored):
    controls = [stored.add(LR, first, seed, settings={"init": "lr-baseline"}) for seed, first in ((1, 203), (2, 245))]
    for seed, first in ((1, 213), (2, 240), (3, 400)):
        stored.add("dfd", first, seed, settings={"init": "lr-baseline"})
    [filled] = fill(TRAINED_ON, stored.records, stored.right)
    dfd = cell(filled, "DFD, trained on")
    assert dfd.control.gain == pytest.approx((10 - 5) / 2 / N * 100) and dfd.reference.gain == pytest.approx(2.875)
    assert dfd.control.mcnemar == pytest.approx((2 / 2**10, 2 / 2**5))
    assert dfd.control_runs.split() == [one.id for one in controls]
    head, *body = lines(filled)
    assert head[3:5] == ["vs LR-baseline", "vs its control"]
    assert {line[0]: line[4] for line in body}["DFD, trained on"] == "+0.62 (1 of 2)"
    own = cell(filled, "LR-baseline, trained on")
    assert own.reference and own.control is None  # it is one itself
    assert len(filled.comparisons) == 3


def test_a_row_whose_control_was_not_run_has_none(stored):
    stored.add("dfd", 213, 1, settings={"init": "lr-baseline"})  # 200 epochs; the reference has 100
    [filled] = fill(TRAINED_ON, stored.records, stored.right)
    dfd = cell(filled, "DFD, trained on")
    assert dfd.reference.gain == pytest.approx(0.75) and dfd.control is None and not dfd.control_runs
    assert "Budgets are unequal" in render([filled]) and "vs its control" not in lines(filled)[0]


def test_a_row_trained_from_scratch_has_the_reference_as_its_control():
    stored = Stored()
    stored.add(LR, 200)
    stored.add("vdsr", 220)
    filled = stored.fill()
    found = cell(filled, "VDSR to 16x16 + ResNet-18")
    assert found.control is found.reference and str(found.control) == "+5.00 (1 of 1)"
    assert "control" not in render([filled])  # budgets are equal


@pytest.mark.parametrize("style", ["csv", "json"])
def test_the_long_form_has_the_comparison(style, stored):
    found = read(render([stored.fill()], style), style)
    by_row = {one["row"]: one for one in found}
    dfd = by_row.pop("DFD (ResNet-18)")
    for other in ("reference", "control"):  # which is the reference itself
        assert float(dfd[f"{other}_gain"]) == pytest.approx(2.875)
        assert [float(p) for p in dfd[f"{other}_mcnemar_p"].split()] == pytest.approx([2 / 2**3, 2 / 2**20], rel=1e-2)
        assert all(one[f"{other}_{name}"] in (None, "") for one in by_row.values() for name in ("gain", "mcnemar_p"))


def test_a_plugins_table_may_have_another_reference(stored):
    source = replace(published.table("2"), reference="dfd")
    [filled] = fill(source, stored.records, stored.right)
    assert cell(filled, "LR-baseline").reference.gain == pytest.approx(-2.875)
    assert cell(filled, "DFD (ResNet-18)").reference is None and "vs DFD" in render([filled])
