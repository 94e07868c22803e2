"""`lrbench compare` and `lrbench predictions`: which runs a name means, what is said of two, and the CSV by hand."""

import csv
import io
import itertools
import json
import math
import re
import sys

import numpy as np
import pytest
import scipy.stats
from helpers.records import LR, diverged, record

from lrbench import cli
from lrbench.errors import UserError
from lrbench.report import predictions
from lrbench.report.frame import frame
from lrbench.report.versus import compare
from lrbench.report.ways_by_name import conditions, find
from lrbench.spec.runspec import PROTOCOL
from lrbench.store.store import Store

N = 300
LABELS = np.arange(N) % 10


class Runs:
    """A store of runs that nobody trained, with predictions."""

    def __init__(self, root):
        root.mkdir()
        self.store = Store(root)

    def add(
        self, method=LR, right=200, seed=0, settings=None, labels=LABELS, lost=False, one_class=False,
        needs_weights=None, **changes,
    ):  # fmt: skip
        """A run that is right on so many of the images, of which the seed and the method choose the last few."""
        draw = np.random.default_rng([seed, len(method), right])
        hit = np.arange(N) < right - 20
        hit[right - 20 + draw.permutation(N - right + 20)[:20]] = True
        predicted = np.where(hit, labels, (labels + 1) % 10)
        predicted = np.zeros_like(predicted) if one_class else predicted
        one = record(method, 100 * (predicted == labels).mean(), seed, settings, **changes)
        one = one.model_copy(update={"needs_weights": needs_weights or {}})
        metrics = one.metrics | {"predicted_classes": len(np.unique(predicted))}
        one = diverged(one) if lost else one.model_copy(update={"metrics": metrics})
        return self.store.save(one, "", {"predicted": predicted, "label": labels}, b"")

    @property
    def results(self):
        return frame(self.store)

    def one(self, name, shared=None):
        """The runs that a name means."""
        [found] = find([name], self.results, shared)
        return found

    def versus(self, first, second, **shared):
        return compare(first, second, self.results, self.store, shared)


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path / "runs")


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """LR-baseline and DFD at two settings on two data sets, seeds 0 to 2; one of LR-baseline's is missing."""
    runs = Runs(tmp_path_factory.mktemp("compare") / "runs")
    draw = np.random.default_rng(0)
    for seed, dataset in itertools.product(range(3), ("cifar10", "svhn")):
        runs.add("dfd", 230 + int(draw.integers(9)), seed, dataset=dataset, epochs=9)
        runs.add("dfd", 220 + int(draw.integers(9)), seed, {"lam": 0.5}, dataset=dataset, epochs=9)
        if (seed, dataset) != (2, "cifar10"):
            runs.add(LR, 200 + int(draw.integers(9)), seed, dataset=dataset, epochs=9)
        runs.add(LR, 210 + int(draw.integers(9)), seed, {"init": "teacher"}, dataset=dataset, epochs=9)
    runs.add("hr-baseline", 290, epochs=9)
    runs.add("vdsr", 205, 0, {"sr_scale": 4}, epochs=9)
    runs.add("vdsr", 215, 0, {"sr_scale": 2, "sr_pairs": "all"}, epochs=9)
    return runs


# --- names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, shared, seeds, words",
    [
        ("dfd", {"dataset": "cifar10"}, 3, {"lam": 2.0, "dataset": "cifar10"}),  # the default, as in `lrbench run`
        ("dfd lam=0.5", {"dataset": "svhn"}, 3, {"lam": 0.5, "dataset": "svhn"}),
        ("dfd lam=0.5 dataset=svhn", {}, 3, {"lam": 0.5, "dataset": "svhn"}),
        ("dfd  lam=0.50", {"dataset": "svhn", "scale": 4, "width": 1}, 3, {"lam": 0.5}),
        ("lr-baseline init=teacher limit-train=all", {"dataset": "cifar10"}, 3, {"init": "teacher"}),
        ("lr-baseline", {"dataset": "cifar10"}, 2, {"init": "scratch"}),
        ("hr-baseline", {"scale": 2, "degradation": "area"}, 1, {"scale": None}),  # one run serves them all
        ("vdsr sr_scale=4", {}, 1, {"sr_scale": 4, "sr_pairs": "limit"}),
    ],
)
def test_a_name_means_all_seeds_of_one_experiment(many, name, shared, seeds, words):
    found = many.one(name, shared)
    about = conditions(found.iloc[0]) | json.loads(found.iloc[0]["config"])
    assert about | words == about and list(found["seed"]) == list(range(seeds))


def test_an_id_or_its_beginning_means_all_seeds(many):
    one = next(one for one in many.store.records() if one.spec.method == "dfd" and one.spec.config["lam"] == 0.5)
    for name in (one.id, one.id[:6]):
        found = many.one(name)
        assert len(found) == 3 and one.id in set(found["id"])
    with pytest.raises(UserError, match="no method or run"):  # it may be a method that is misspelt
        many.one(one.id[:5])


@pytest.mark.parametrize(
    "name, message",
    [
        ("dfdd", "no method or run 'dfdd'; did you mean 'dfd'?"),
        ("dfd lamb=1", "dfd has no setting or condition 'lamb'; did you mean 'lam'?"),
        ("dfd lam=0.51", "there is no run of dfd with lam=0.51; did you mean '0.5'?"),
        ("dfd dataset=cifar", "there is no run of dfd with dataset=cifar; did you mean 'cifar10'?"),
        ("dfd", "'dfd' may mean 2 experiments; say which: dataset=cifar10; dataset=svhn"),
        ("vdsr", "'vdsr' may mean 2 experiments; say which: sr_pairs=all sr_scale=2; sr_pairs=limit sr_scale=4"),
    ],
)
def test_a_name_that_does_not_mean_one_ends_in_a_line_of_what_there_is(many, name, message):
    with pytest.raises(UserError) as error:
        many.one(name)
    assert str(error.value) == message


def test_many_candidates_are_counted_not_listed(runs):
    for lam in range(1, 13):
        runs.add("dfd", settings={"lam": lam / 8})
    with pytest.raises(UserError, match=r"may mean 12 experiments; say which: lam=0\.125\|0\.25\|.* and 4 more$"):
        runs.one("dfd")
    for dataset, backbone in itertools.product(("cifar10", "svhn"), ("resnet18", "vgg16", "alexnet")):
        runs.add(LR, dataset=dataset, backbone=backbone)
    with pytest.raises(UserError) as error:
        runs.one(LR)
    told = "dataset=cifar10|svhn; backbone=alexnet|resnet18|vgg16"
    assert str(error.value) == f"'{LR}' may mean 6 experiments; say which: {told}"


def test_of_two_selections_that_without_one_is_meant_unless_it_is_said(runs):
    plain, held_out = runs.add("dfd"), runs.add("dfd", select="held-out")
    assert list(runs.one("dfd")["id"]) == [plain.id]
    assert list(runs.one("dfd select=held-out")["id"]) == [held_out.id]


def test_of_two_versions_the_newest_is_meant_unless_it_is_said(runs):
    old = runs.add("dfd", 210, finished="2026-01-02", spec={"version": "draft-a"})
    new = runs.add("dfd", 220, finished="2026-01-03", spec={"version": "draft-b"})
    assert list(runs.one("dfd")["id"]) == [new.id]
    assert list(runs.one(old.id)["id"]) == [old.id]
    assert list(runs.one("dfd version=draft-b")["id"]) == [new.id]


def test_what_is_not_said_is_as_in_the_other(many):
    records = many.store.records()
    svhn = next(one for one in records if one.spec.method == "dfd" and one.spec.dataset == "svhn")
    for names in ((svhn.id, "lr-baseline"), ("lr-baseline", svhn.id)):
        found = [one.iloc[0] for one in find(names, many.results)]
        assert [one["dataset"] for one in found] == ["svhn"] * 2
        assert [one["set.init"] for one in found if one["method"] == LR] == ["scratch"]


def test_an_sr_net_has_nothing_to_compare(runs):
    net = record("sr-espcn")
    metrics = {name: value for name, value in net.metrics.items() if name != "top1"}
    runs.store.save(net.model_copy(update={"metrics": metrics}), "", {"psnr": np.ones(3)}, b"")
    for name in ("sr-espcn", net.id):
        with pytest.raises(UserError, match="names SR nets, which recognise nothing; see 'lrbench table sr'"):
            runs.one(name)


def test_a_run_that_failed_is_no_experiment(runs):
    one = runs.add("dfd")
    runs.store.write_failure(
        one.spec.model_copy(update={"seed": 1, "config": {**one.spec.config, "lam": 0.25}}), "lost"
    )
    assert list(runs.one("dfd")["id"]) == [one.id] and len(runs.results) == 2
    with pytest.raises(UserError, match=r"there is no run of dfd with lam=0\.25; choose from 2"):
        runs.one("dfd lam=0.25")


def test_a_setting_that_holds_others_is_said_as_json(runs):
    for depth in (4, 8):
        runs.add("vdsr", spec={"config": {"args": {"depth": depth, "act": "relu"}}})
    found = runs.one('vdsr args={"depth": 8, "act": "relu"}')
    assert [json.loads(config)["args"]["depth"] for config in found["config"]] == [8]


# --- what may be compared -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other, why",
    [
        ({"limit_test": 100}, "tested on 10,000 and 10,000 test images"),
        ({"spec": {"fingerprint": {"train": "1a", "test": "new"}}}, "cifar10 has had two contents"),
        ({"dataset": "svhn"}, "one was tested on cifar10, the other on svhn"),
        ({"labels": LABELS[::-1]}, "labels differ"),
    ],
    ids=["limit", "content", "dataset", "labels"],
)
def test_other_test_images_are_refused_in_one_line(runs, other, why):
    one, two = runs.add("dfd"), runs.add(LR, **other)
    with pytest.raises(UserError, match=why) as error:
        runs.versus(one.id, two.id)
    assert "\n" not in str(error.value)


def test_without_a_shared_seed_nothing_is_compared(runs):
    runs.add("dfd", seed=1), runs.add(LR, seed=2), runs.add(LR, seed=3)
    with pytest.raises(UserError, match="no seed in common, but seed 1 and seeds 2, 3: run one with --seed"):
        runs.versus("dfd", LR)


def test_an_experiment_is_not_compared_with_itself(many):
    with pytest.raises(UserError, match=r"name the same experiment, DFD lam=0\.5"):
        many.versus("dfd lam=0.5", "dfd lam=0.5 scale=4", dataset="svhn")


def test_conditions_and_budgets_that_differ_are_said(runs):
    for seed in range(2):
        runs.add("dfd", seed=seed, settings={"init": "teacher"}, limit_train=10_000)
        runs.add(LR, 190 + seed, seed=seed, width=0.5, epochs=9)
    said = str(runs.versus("dfd init=teacher", LR))
    for words in ("width (1 and 0.5)", "epochs (100 and 9)", "limit_train (10000 and all)"):
        assert said.count(words) == 1
    assert said.count("epochs in the weights (200 and 9)") == 1
    assert "what differs beside the method" not in str(runs_alike(runs))


def runs_alike(runs):
    for seed in range(5):
        runs.add("vdsr", 200 + seed, seed), runs.add("espcn", 201 + seed, seed)
    return runs.versus("vdsr", "espcn")


def test_a_comparison_across_precisions_says_so(runs):
    for seed in range(3):
        runs.add("vdsr", 200 + seed, seed, precision="bf16"), runs.add("espcn", 201 + seed, seed)
    assert (
        "due to what differs beside the method: precision (bf16 and fp32)." in runs.versus("vdsr", "espcn").conclusion
    )


def test_every_field_of_the_spec_that_differs_is_said(runs):
    changes = {"batch_size": 32, "dropout": 0.5, "select": "held-out", "degradation": "area"}
    for seed in range(3):
        runs.add("vdsr", 200 + seed, seed, **changes), runs.add("espcn", 201 + seed, seed)
    said = runs.versus("vdsr", "espcn").conclusion
    for words in (
        "batch_size (32 and 128)",
        "dropout (0.5 and 0)",
        "select (held-out and none)",
        "degradation (area and",
    ):
        assert words in said


def test_what_diverged_is_counted_and_in_no_mean(runs):
    for seed in range(4):
        runs.add("dfd", 230 + seed, seed, lost=seed == 3), runs.add(LR, 200, seed)
    result = runs.versus("dfd", LR)
    text, read = str(result), json.loads(json.dumps(result.to_dict()))
    assert result.comparison.seeds == (0, 1, 2) and result.comparison.gain == pytest.approx(100 * 31 / N)
    assert re.search(r"\| 3 +\| +diverged \| +66.67 \|", text)
    assert re.search(r"\| mean +\| 77.00 ± 0.33 \(3\) +\| 66.67 ± 0.00 \(3\) +\|", text)
    assert "Not counted, since they diverged: seed 3." in text
    assert "- seed 3 of DFD diverged and is in no mean: no number in epoch 3" in text
    assert (read["seeds_diverged"], read["a"]["diverged"], read["b"]["diverged"]) == ([3], 1, 0)
    assert read["a"]["diverged_runs"] == runs.one("dfd").iloc[3]["id"]


def test_a_name_means_todays_protocol_where_that_is_not_said(runs):
    for seed, protocol in itertools.product(range(3), (1, PROTOCOL)):
        runs.add("dfd", 230, seed, spec={"protocol": protocol}), runs.add(LR, 200, seed, spec={"protocol": protocol})
    for said, protocol in (("", PROTOCOL), (" protocol=1", 1)):
        result = runs.versus(f"dfd{said}", LR)
        assert {*result.first["protocol"], *result.second["protocol"]} == {protocol}


def test_what_differs_beside_the_method_is_said_with_the_verdict(runs):
    for seed in range(3):
        runs.add("dfd", 250, seed), runs.add(LR, 200, seed, {"init": LR})
    said = runs.versus("dfd", LR).conclusion
    assert "more than chance" in said
    assert said.endswith("That may be due to what differs beside the method: epochs in the weights (100 and 200).")


def test_where_all_diverged_nothing_is_compared(runs):
    for seed in range(2):
        runs.add("dfd", 230, seed, lost=True), runs.add(LR, 200, seed)
    with pytest.raises(
        UserError,
        match=r"of each seed that both have, seeds 0, 1, a run diverged: DFD diverged \(2; predicts one class\)",
    ):
        runs.versus("dfd", LR)


def test_two_seeds_say_nothing_of_ways_of_training(runs):
    for seed in range(2):
        runs.add("dfd", 290 - seed, seed), runs.add(LR, 200, seed)
    result = runs.versus("dfd", LR)
    assert not result.to_dict()["more_than_chance"]
    said = result.conclusion
    assert "in these seeds 0, 1" in said and "with fewer than 3 seeds" in said and "more than chance" not in said


def test_the_teachers_score_and_its_weights_are_said(runs):
    teacher = runs.add("hr-baseline", 290)
    for seed in range(3):
        (
            runs.add("dfd", 230, seed, needs_weights={"teacher": teacher.files["weights.safetensors"]}),
            runs.add(LR, 200, seed),
        )
    result = runs.versus("dfd", LR)
    assert "\nA's teacher: top-1 96.67 (1), 100 epochs\n" in str(result)
    assert result.to_dict()["a"]["teacher"] == "96.67 (1), 100 epochs"
    assert result.to_dict()["b"]["teacher"] is None
    assert "more than once" not in str(result)


def test_other_weights_of_what_was_needed_are_noted(runs):
    runs.add("hr-baseline", 290)
    for seed in range(3):
        runs.add("dfd", 230, seed, needs_weights={"teacher": "another"}), runs.add(LR, 200, seed)
    said = "Trained more than once, to different weights: HR-baseline (resnet18) on cifar10 HR, seed 0. 1 of the 1 uses"
    assert said in str(runs.versus("dfd", LR))


def test_a_network_that_predicts_one_class_is_named(runs):
    for seed in range(3):
        runs.add(LR, 30, seed, one_class=seed == 1), runs.add("dfd", 60, seed)
    assert "- LR-baseline predicts one class in seed 1: it has learned" in str(runs.versus("dfd", LR))
    assert list(runs.one(LR)["predicted_classes"]) == [10, 1, 10]


def test_two_seeds_with_one_gain_are_not_beyond_all_doubt(runs):
    for seed in range(2):
        runs.add("vdsr", 200 + seed, seed), runs.add("espcn", 201 + seed, seed)
    comparison = runs.versus("espcn", "vdsr").comparison
    assert comparison.gains[0] == pytest.approx(comparison.gains[1]) and comparison.p > 0.001
    low, high = comparison.interval
    assert low < comparison.gain < high


# --- the numbers and the words --------------------------------------------------------------------------


def test_the_numbers_of_a_comparison_are_scipys(many):
    result = many.versus("dfd", "lr-baseline init=teacher", dataset="cifar10")
    tops = [list(side["top1"]) for side in (result.first, result.second)]
    test = scipy.stats.ttest_rel(*tops)
    read = json.loads(json.dumps(result.to_dict()))
    assert read["gain"] == pytest.approx(np.mean(tops[0]) - np.mean(tops[1]))
    assert read["own_p"] == pytest.approx(test.pvalue, rel=1e-5)
    gains, images_sd = np.subtract(*tops), read["images_sd"]
    error = max(np.std(gains, ddof=1), images_sd) / math.sqrt(3)  # the test images alone give more than these seeds
    assert images_sd > np.std(gains, ddof=1) and images_sd == pytest.approx(result.comparison.images_sd)
    assert read["p"] == pytest.approx(2 * scipy.stats.t.sf(abs(read["gain"]) / error, 2), rel=1e-5)
    over = scipy.stats.t.interval(0.95, 2, read["gain"], error)
    assert [read["t_low"], read["t_high"]] == pytest.approx(list(over))
    for told in read["by_seed"]:
        first, second = (many.store.predictions(told[side]) for side in ("id_a", "id_b"))
        one, other = (stored["predicted"] == stored["label"] for stored in (first, second))
        assert told["gain"] == told["top1_a"] - told["top1_b"] == pytest.approx(100 * (one.mean() - other.mean()))
        assert (told["only_a"], told["only_b"]) == ((one & ~other).sum(), (other & ~one).sum())
        only = told["only_a"], told["only_b"]
        assert told["p"] == pytest.approx(scipy.stats.binomtest(only[0], sum(only)).pvalue)
    low, high = read["images_low"], read["images_high"]
    assert low < read["gain"] < high and over[1] - over[0] > high - low
    assert (read["low"], read["high"]) == (read["t_low"], read["t_high"])  # the wider
    assert "the seeds differ by less than the images alone give, so t takes that" in str(result)
    assert read["seeds"] == read["a"]["seeds"] == "0 1 2" and read["a"]["runs"] == " ".join(result.first["id"])


def test_seeds_that_only_one_has_are_left_out_and_named(many):
    result = many.versus("dfd", LR, dataset="cifar10")
    assert result.comparison.seeds == (0, 1) and list(result.seeds["seed"]) == [0, 1]
    assert "- left out: seed 2 of DFD, which the other does not have" in str(result)


def test_a_difference_beyond_chance_is_said_in_either_order(many):
    for names, word in ((("dfd", LR), "better"), ((LR, "dfd"), "worse")):
        result = many.versus(*names, dataset="svhn")
        assert result.comparison.p < 0.05
        gain = abs(result.comparison.gain)
        told = r"(DFD|LR-baseline) is (\w+) than (LR-baseline|DFD) by (\S+) points, more than chance over 3 seeds"
        found = re.search(told, str(result))
        assert (found[2], found[4]) == (word, f"{gain:.2f}")


def test_no_difference_is_not_called_equality(runs):
    for seed in range(5):
        runs.add("dfd", 200 + 3 * (-1) ** seed, seed), runs.add(LR, 200, seed)
    result = runs.versus("dfd", LR)
    text = str(result)
    assert "No difference between DFD and LR-baseline is shown over 5 seeds" in text
    low, high = result.comparison.interval
    assert low < 0 < high and f"anything from {low:+.2f} to {high:+.2f} points" in text


@pytest.mark.parametrize("right, differ", [(260, "by more than chance"), (203, "by no more than chance")])
def test_with_one_seed_it_is_said_what_cannot_be(runs, right, differ):
    runs.add("dfd", right), runs.add(LR, 200)
    result = runs.versus("dfd", LR)
    text, read = str(result), json.loads(json.dumps(result.to_dict()))
    assert f"These two networks differ {differ} on these images" in text
    assert "With one seed nothing can be said of the two ways of training" in text
    assert re.search(r"95% interval over seeds \(t\) +-\n95% interval over images", text)
    assert (
        read["t_low"] is None
        and read["own_p"] is None
        and read["p"] == pytest.approx(read["by_seed"][0]["p"], rel=1e-5)
    )


def test_one_method_under_two_conditions_is_told_apart(runs):
    for seed in range(2):
        runs.add(LR, 200 + seed, seed), runs.add(LR, 220 + 3 * seed, seed, width=0.5)
    names = runs.versus("lr-baseline width=1", "lr-baseline width=0.5").names
    assert names == ("LR-baseline (width 1)", "LR-baseline (width 0.5)")


def test_one_way_of_training_trained_with_other_needs_is_told_apart_by_its_runs(runs):
    old, new = runs.add("dfd", 210, spec={"version": "draft-a"}), runs.add("dfd", 220, spec={"version": "draft-b"})
    assert runs.versus(old.id, new.id).names == (f"DFD (as in {old.id})", f"DFD (as in {new.id})")


def test_a_notebook_shows_what_is_printed(many):
    result = many.versus("dfd", LR, dataset="cifar10")
    shown = result._repr_html_()
    grid = re.findall(r"<td>(.*?)</td>", shown)
    assert len(grid) == 3 * 7  # two seeds and their mean
    for line in str(result).splitlines():
        if re.match(r"\| (\d|mean)", line):
            cells = [cell.strip() for cell in line.split("|")[1:-1]]
            assert any(grid[place : place + len(cells)] == cells for place in range(len(grid)))
    assert result.conclusion in shown and "left out: seed 2 of DFD" in shown and "DFD against LR-baseline" in shown


# --- the commands ---------------------------------------------------------------------------------------


@pytest.fixture
def lrbench(many, monkeypatch, capsys):
    monkeypatch.setenv("LRBENCH_RESULTS", str(many.store.root))
    monkeypatch.setenv("LRBENCH_BASELINES", "none")

    def call(*args):
        monkeypatch.setattr(sys, "argv", ["lrbench", *map(str, args)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, *capsys.readouterr()

    return call


def test_compare_prints_text_or_an_object(lrbench):
    status, out, _ = lrbench("compare", "dfd lam=0.5", "lr-baseline", "--dataset", "svhn", "--scale", 4)
    assert status == 0 and out.startswith("A: DFD lam=0.5\nB: LR-baseline\ndataset svhn, scale 4")
    status, out, _ = lrbench("compare", "dfd lam=0.5", "lr-baseline", "--dataset=svhn", "--json")
    assert status == 0 and json.loads(out)["a"]["name"] == "DFD lam=0.5"


@pytest.mark.parametrize(
    "args",
    [
        ("compare", "dfd", "lr-baselin"),
        ("compare", "dfd", "lr-baseline"),
        ("predictions", "dfd lam=9"),
        ("predictions", "--table=3"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(lrbench, args):
    status, out, err = lrbench(*args)
    assert (status, out) == (2, "") and err.startswith("lrbench: ") and err.count("\n") == 1


def test_predictions_of_names_of_a_table_and_of_all(many, lrbench, tmp_path):
    records = many.store.records()
    _, out, _ = lrbench("predictions", "dfd lam=0.5 dataset=svhn")
    own = [one for one in records if (one.spec.dataset, one.spec.config.get("lam")) == ("svhn", 0.5)]
    read = list(csv.reader(io.StringIO(out)))
    assert read[0] == ["run", "index", "label", "predicted"] and len(read) == 1 + N * len(own)
    for run in own:
        stored = many.store.predictions(run.id)
        mine = np.array([line[1:] for line in read if line[0] == run.id], int)
        assert np.array_equal(mine, np.stack([np.arange(N), stored["label"], stored["predicted"]], axis=1))
    file = tmp_path / "deep" / "all.csv"
    status, out, _ = lrbench("predictions", "--out", file)
    assert status == 0 and f"{N * len(records):,} predictions of {len(records)} runs" in out
    with file.open() as written:
        assert {line["run"] for line in csv.DictReader(written)} == {one.id for one in records}
    of_table = predictions.choose(many.results, [], ["2"])
    assert {one.spec.method for one in records if one.id in of_table} == {"hr-baseline", LR, "dfd", "vdsr"}
    shown = [one for one in records if one.spec.dataset == "cifar10" and one.spec.config.get("lam") != 0.5]
    assert set(of_table) == {one.id for one in shown if one.spec.config.get("init") != "teacher"}


def test_predictions_hold_one_run_at_a_time(many):
    class Counting:
        def __init__(self):
            self.asked = []

        def predictions(self, run):
            self.asked.append(run)
            return many.store.predictions(run)

    class Sink(io.StringIO):
        def write(self, text):
            if text.startswith(ids[len(seen)] if len(seen) < len(ids) else "-"):
                seen.append(len(store.asked))  # runs read when the first line of a run is written
            return super().write(text)

    store, seen, ids = Counting(), [], [one.id for one in many.store.records()[:4]]
    predictions.write(ids, store, Sink())
    assert seen == [1, 2, 3, 4]


def test_a_write_that_fails_leaves_what_was_there(many, lrbench, tmp_path):
    file = tmp_path / "out.csv"
    file.write_text("mine")
    broken = many.store.root / many.store.records()[-1].id / "predictions.npz"
    kept = broken.read_bytes()
    monkey = pytest.MonkeyPatch()
    monkey.setattr(Store, "predictions", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    try:
        status, _, err = lrbench("predictions", "--out", file)
    finally:
        monkey.undo()
    assert status == 1 and "No space left" in err and broken.read_bytes() == kept
    assert file.read_text() == "mine" and list(tmp_path.iterdir()) == [file]
