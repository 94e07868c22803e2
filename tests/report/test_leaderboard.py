"""The leaderboard: its numbers recomputed from stored predictions, its order, and what it says of what is missing."""

import csv
import io
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats
from helpers import many
from helpers.cli import process
from helpers.records import LR, net, record
from safetensors.torch import save as save_tensors

import lrbench as lr
from lrbench.method import naming
from lrbench.report import leaderboard, tables
from lrbench.report.formats import HR_MARK, print_tables, render
from lrbench.report.frame import frame
from lrbench.spec.runspec import PROTOCOL
from lrbench.store.store import Store

IMAGES = 500
LABELS = np.random.default_rng(99).integers(10, size=IMAGES)
CONTINUED = {"init": LR}
SCRATCH = {"init": "scratch"}


@pytest.fixture
def store(tmp_path):
    (tmp_path / "runs").mkdir()
    return Store(tmp_path / "runs")


def put(store, method=LR, seed=0, accuracy=0.7, settings=None, status="done", metrics=None, weights=None, **changes):
    """A run in the store that nobody trained: right on about so many images, each seed's own."""
    settings = SCRATCH if settings is None and method in (LR, "dfd") else settings
    one = record(method, 0.0, seed, settings, **changes)
    draw = np.random.default_rng([seed, int(one.id, 16) % 2**32])
    predicted = np.where(draw.random(IMAGES) < accuracy, LABELS, (LABELS + 1) % 10)
    measured = {"top1": 100 * float((predicted == LABELS).mean()), "parameters": 701_466, "macs": 35_046_656}
    measured |= {"train_seconds": 90.0 + seed} | (metrics or {})
    facts = one.data.model_copy(update={"test_images": IMAGES})
    update = {"metrics": one.metrics | measured, "data": facts, "status": status, "needs_weights": weights or {}}
    one = one.model_copy(update=update | {"about": naming.about(method)})
    return store.save(one, "epoch,loss\n1,2\n", {"predicted": predicted, "label": LABELS}, save_tensors({}))


def boards(store):
    return tables.tables(tables.LEADERBOARD, frame(store), store.right, long=True)


def text(store, style):
    return render(boards(store), style)


def rows(store):
    """The CSV of the leaderboard, a dict for each row."""
    return list(csv.DictReader(io.StringIO(text(store, "csv"))))


def row(store, **wanted):
    [found] = [one for one in rows(store) if all(one[name] == str(value) for name, value in wanted.items())]
    return found


def board(store):
    [one] = boards(store)
    return one


def lines(store):
    return board(store).shown.to_numpy().tolist()


def notes(store):
    return "\n".join([*board(store).notes, *board(store).legend])


def right(store, one):
    """Which images a run got right, from its own file."""
    with np.load(store.root / one.id / "predictions.npz") as stored:
        return (stored["predicted"] == stored["label"]).astype(float)


def pigeonhole(differences, resamples=4000):
    """The interval over seeds and images, the slow way: seeds and images drawn again, one resample after another."""
    draw, (seeds, images) = np.random.default_rng(5), differences.shape
    means = [
        differences[draw.integers(seeds, size=seeds)][:, draw.integers(images, size=images)].mean()
        for _ in range(resamples)
    ]
    return 100 * np.quantile(means, [0.025, 0.975])


# --- numbers --------------------------------------------------------------------------------------------


def test_every_number_can_be_recomputed_from_the_runs(store):
    students = [put(store, "dfd", seed, 0.8) for seed in (2, 0, 1)]
    baselines = [put(store, LR, seed) for seed in (0, 1, 2, 3)]
    put(store, LR, 0, settings=CONTINUED)
    found = row(store, method="dfd")
    assert found["seeds"] == "0 1 2" and found["runs"].split() == [students[place].id for place in (1, 2, 0)]
    scores = np.array([100 * right(store, students[place]).mean() for place in (1, 2, 0)])
    assert float(found["top1_mean"]) == pytest.approx(scores.mean(), abs=1e-4)
    assert float(found["top1_sd"]) == pytest.approx(scores.std(ddof=1), abs=1e-4)
    assert (found["n"], found["diverged"], found["epochs_in_weights"]) == ("3", "0", "100")

    assert found["control_runs"].split() == [one.id for one in baselines[:3]]
    assert (found["reference"], found["control_seeds"], found["control_n"]) == (LR, "0 1 2", "3")
    baseline = np.array([100 * right(store, one).mean() for one in baselines[:3]])
    assert float(found["control_gain"]) == pytest.approx((scores - baseline).mean(), abs=1e-4)
    test = scipy.stats.ttest_rel(scores, baseline)
    assert float(found["control_own_p"]) == pytest.approx(test.pvalue, rel=1e-4)
    pairs = zip((students[1], students[2], students[0]), baselines, strict=False)
    differences = np.stack([right(store, one) - right(store, other) for one, other in pairs])
    n = differences.shape[1]  # the table's only gain, whose spread is at least what the images give
    of_images = 100 * np.sqrt(np.mean([(abs(d).sum() - d.sum() ** 2 / n) / n**2 for d in differences]))
    half = scipy.stats.t.ppf(0.975, 2) * max((scores - baseline).std(ddof=1), of_images) / np.sqrt(3)
    by_t = (scores - baseline).mean() + np.array([-half, half])
    assert [float(found["control_t_low"]), float(found["control_t_high"])] == pytest.approx(by_t, abs=1e-3)
    by_images = pigeonhole(differences)
    images = float(found["control_images_low"]), float(found["control_images_high"])
    assert images == pytest.approx(by_images, abs=0.1 * (by_images[1] - by_images[0]))
    assert 0 < float(found["control_images_p"]) < 0.01 < float(found["control_p"]) * 10
    wider = max([images, tuple(by_t)], key=lambda ends: ends[1] - ends[0])
    assert [float(found["control_low"]), float(found["control_high"])] == pytest.approx(wider, abs=1e-3)
    assert len(found["control_mcnemar_p"].split()) == 3
    assert found["teacher_top1"] == ""  # it is not stored here

    assert (found["parameters"], found["macs"]) == ("701466", "35046656")
    assert float(found["minutes"]) == pytest.approx(91 / 60, abs=1e-3)


def test_the_teachers_score_stands_beside_its_students(store):
    student = put(store, "dfd", 0, 0.8)
    [need] = student.spec.needs.values()
    teacher = put(store, "hr-baseline", 0, 0.9)
    assert teacher.id == need.id
    assert float(row(store, method="dfd")["teacher_top1"]) == pytest.approx(teacher.metrics["top1"], abs=1e-4)
    assert row(store, method="hr-baseline")["teacher_top1"] == ""


def test_what_is_shown_is_what_the_csv_has(store):
    for seed in range(3):
        put(store, "dfd", seed, 0.9), put(store, LR, seed, 0.6)
    found, line = row(store, method="dfd"), board(store).shown.iloc[0]
    assert line["top-1 %"] == f"{float(found['top1_mean']):.2f} ± {float(found['top1_sd']):.2f} (3)"
    ends = f"{float(found['control_low']):+.2f}, {float(found['control_high']):+.2f}"
    assert line["gain"] == f"{float(found['control_gain']):+.2f} [{ends}] (3) §" and found["control_mark"] == "§"
    assert [line[name] for name in ("epochs", "params", "MACs", "min")] == ["100", "0.701", "35.0", "1.5"]
    assert [one["control_gain"] for one in json.loads(text(store, "json"))] == [float(found["control_gain"]), None]


def test_latex_explains_the_signs_that_there_are(store):
    for seed in range(3):
        put(store, "dfd", seed, 0.9), put(store, LR, seed, 0.6)
    caption = text(store, "latex").partition(r"\begin{tabular}")[0]
    said = "In brackets the number of seeds; gain: points over the control of equal budget, with the 95\\% interval"
    assert f"{said}; §: which leaves out 0, of 3 seeds or more. Precision" in caption and "†" not in caption
    put(store, "hr-baseline", 0, 0.9)
    assert "seeds or more; † trained and tested on HR images. " in text(store, "latex")


def test_the_wider_interval_is_taken_and_two_seeds_get_no_mark(store):
    for seed in range(2):
        put(store, "dfd", seed, 0.95), put(store, LR, seed, 0.3)
    found = row(store, method="dfd")
    assert float(found["control_images_low"]) > 0 and found["control_mark"] == "" and found["control_n"] == "2"
    lows, highs = ([float(found[f"control_{name}_{end}"]) for name in ("t", "images")] for end in ("low", "high"))
    widths = [high - low for low, high in zip(lows, highs, strict=True)]
    assert float(found["control_high"]) - float(found["control_low"]) == pytest.approx(max(widths), abs=1e-3)


def test_one_seed_speaks_of_images_alone(store):
    put(store, "dfd", 0, 0.95), put(store, LR, 0, 0.3)
    found = row(store, method="dfd")
    assert [found[name] for name in ("control_own_p", "control_t_low", "top1_sd", "control_mark")] == [""] * 4
    assert float(found["control_p"]) == pytest.approx(float(found["control_mcnemar_p"]), rel=0.01)
    assert (found["control_low"], found["control_high"]) == (found["control_images_low"], found["control_images_high"])


# --- who is compared with whom --------------------------------------------------------------------------


def test_the_control_starts_as_the_row_does_and_has_its_epochs_and_its_network(store):
    control = put(store, LR, settings=CONTINUED)
    for other in ({}, {"width": 0.5}, {"backbone": "vgg16"}):
        put(store, LR, **other)
    put(store, "dfd", settings=CONTINUED)
    put(store, "dfd", backbone="alexnet")
    assert row(store, method="dfd", backbone="resnet18")["control_runs"] == control.id
    found = row(store, method="dfd", backbone="alexnet")
    assert (found["control_gain"], found["control_runs"]) == ("", "")
    assert all(one["control_gain"] == "" for one in rows(store) if one["method"] == LR)


def test_unequal_epochs_are_never_compared(store):
    put(store, LR, settings=SCRATCH)
    put(store, "dfd", settings=SCRATCH, metrics={"epochs_in_weights": 200})
    assert row(store, method="dfd")["control_gain"] == ""


def test_seeds_that_only_one_has_are_in_no_gain(store):
    for seed in range(4):
        put(store, "dfd", seed, 0.8)
    for seed in (1, 3, 7):
        put(store, LR, seed)
    found = row(store, method="dfd")
    assert (found["n"], found["control_n"], found["control_seeds"]) == ("4", "2", "1 3")
    assert "(4)" in lines(store)[0][2] and "(2)" in lines(store)[0][3]


def test_precision_splits_nothing_and_is_named(store):
    put(store, "dfd", 0, 0.9, precision="bf16"), put(store, LR, 0, precision="fp32", finished="2026-02-01")
    assert row(store, method="dfd")["control_gain"] and "Compared across precisions: DFD" in notes(store)
    put(store, LR, 0, 0.5, precision="bf16")
    found = row(store, method="dfd")
    assert found["reference_precision"] == "bf16" and "across" not in notes(store)
    assert {one["row"].partition(" [")[2] for one in rows(store) if one["method"] == LR} == {"fp32]", "bf16]"}


def test_the_reference_is_named_by_installed_tables(monkeypatch, store):
    assert leaderboard.references() == [LR]
    put(store, "dfd"), put(store, LR)
    monkeypatch.setattr(leaderboard, "references", lambda note: ["dfd"])
    assert [one["reference"] for one in rows(store) if one["control_gain"]] == ["dfd"]


def test_other_weights_of_a_needed_run_are_named(store):
    teacher = "hr-baseline"
    one = record("dfd", settings=SCRATCH)
    [role] = [role for role, need in one.spec.needs.items() if need.method == teacher]
    put(store, "dfd", weights={role: "a" * 64})
    put(store, "dfd", settings=SCRATCH | {"lam": 0.5}, weights={role: "a" * 64})
    assert "more than once" not in notes(store)
    put(store, "dfd", settings=SCRATCH | {"lam": 0.1}, weights={role: "b" * 64})
    assert "1 of the 3 uses of them here" in notes(store)


def test_a_teacher_that_was_trained_again_since_is_named(store):
    put(store, "dfd", weights={"teacher": "a" * 64})
    assert "more than once" not in notes(store)
    put(store, "hr-baseline")
    assert "1 of the 1 uses of them here" in notes(store)


def test_a_control_that_diverged_is_counted_and_a_teacher_that_did_is_in_no_mean(store):
    for seed in range(3):
        put(store, "dfd", seed, 0.8), put(store, LR, seed, 0.7, status="diverged" if seed == 1 else "done")
        put(store, "hr-baseline", seed, 0.1 if seed == 2 else 0.9, status="diverged" if seed == 2 else "done")
    put(store, "dfd", 3, 0.1, status="diverged")  # which has no control
    found = row(store, method="dfd")
    assert (found["control_seeds"], found["control_diverged"], found["n"]) == ("0 2", "1", "3")
    assert float(found["teacher_top1"]) > 85
    [line] = [line for line in lines(store) if line[0].startswith("DFD")]
    assert f"{float(found['teacher_top1']):.2f}" in line


# --- order and rows -------------------------------------------------------------------------------------


def test_the_best_stands_first_and_hr_is_marked(store):
    for seed in range(2):
        put(store, LR, seed, 0.5), put(store, "dfd", seed, 0.7), put(store, "hr-baseline", seed, 0.8)
        put(store, "dfd", seed, 0.6, SCRATCH | {"lam": 0.5})
    scores = [float(one["top1_mean"]) for one in rows(store)]
    assert scores == sorted(scores, reverse=True) and len(scores) == 4
    marked = [line for line in lines(store) if line[0].endswith(HR_MARK)]
    assert marked == [lines(store)[0]] and marked[0][3] == "-"
    assert any(line.startswith(HR_MARK) for line in board(store).legend)


def test_a_run_on_hr_stands_in_every_table_of_its_data(store):
    hr = put(store, "hr-baseline", 0, 0.9)
    for changes in ({"scale": 4}, {"scale": 2}, {"scale": 4, "dataset": "svhn"}):
        put(store, LR, **changes)
    found = [(one["dataset"], one["size"]) for one in rows(store) if one["runs"] == hr.id]
    assert found == [("cifar10", "8x8"), ("cifar10", "16x16")]
    titles = [one.title for one in boards(store)]
    assert titles == ["Leaderboard: cifar10 8x8", "Leaderboard: cifar10 16x16", "Leaderboard: svhn 8x8"]


def test_protocols_never_meet_and_the_older_is_named(store):
    for protocol in (1, PROTOCOL):
        put(store, LR, spec={"protocol": protocol}), put(store, "dfd", spec={"protocol": protocol})
    newer, older = boards(store)
    assert (newer.title, older.title) == ("Leaderboard: cifar10 8x8", "Leaderboard: cifar10 8x8, protocol 1")
    ids = {protocol: {one["runs"] for one in rows(store) if one["protocol"] == protocol} for protocol in ("1", "2")}
    assert len(ids["1"]) == len(ids["2"]) == 2 and not ids["1"] & ids["2"]


def test_tables_of_older_protocols_are_shown_by_long_alone_and_written_as_numbers(store):
    place = {"results": store.root, "baselines": "none"}
    put(store, spec={"protocol": 1})
    assert "left out" not in str(lr.leaderboard(**place)) and len(lr.leaderboard(**place)) == 1  # there is no newer one
    put(store), put(store, spec={"protocol": 0})
    found, every = lr.leaderboard(**place), lr.leaderboard(**place, long=True)
    assert [one.protocol for one in found] == [PROTOCOL] and [one.protocol for one in every] == [PROTOCOL, 1, 0]
    last = "- Tables of older protocols, left out here: 2; `--long` shows them.\n"
    assert str(found).endswith(last) and "left out" not in str(every)
    assert len(found.numbers) == 3 and render(found, "csv") == render(every, "csv")
    assert str(lr.table(**place)).count("## Table") == 2  # one of either, and none is empty


def test_of_one_protocol_the_table_of_most_ways_stands_first(store):
    put(store), put(store, "dfd", recipe="quick"), put(store, recipe="quick"), put(store, recipe="quick", seed=1)
    for lam in (0.1, 0.2, 0.5):
        put(store, "dfd", settings=SCRATCH | {"lam": lam}, spec={"protocol": 1})
    assert [len(one.shown) for one in boards(store)] == [2, 1, 3]


def test_a_batch_size_and_a_field_that_came_later_split_tables_and_are_named(store):
    put(store), put(store, batch_size=32), put(store, dropout=0.5)
    said = [one.conditions for one in boards(store)]
    assert len(said) == 3 and sum("batches of 32" in one for one in said) == 1
    assert sum("dropout 0.5" in one for one in said) == 1


def test_versions_of_one_experiment_have_rows_of_their_own(store):
    put(store, "dfd", spec={"version": "1"}), put(store, "dfd", spec={"version": "0"})
    assert {one["row"].partition(" [")[2] for one in rows(store)} == {"0]", "1]"}


def test_widths_are_named_once_or_in_each_row(store):
    put(store, width=0.25)
    assert "width 0.25" in board(store).conditions and lines(store)[0][0] == "LR-baseline (resnet18)"
    put(store, width=0.5)
    assert {line[0] for line in lines(store)} == {f"LR-baseline (resnet18 x{width})" for width in ("0.25", "0.5")}


# --- nothing vanishes -----------------------------------------------------------------------------------


def test_a_diverged_seed_is_counted_and_in_no_mean(store):
    kept = [put(store, "dfd", seed, 0.8) for seed in (0, 1)]
    lost = put(store, "dfd", 2, 0.1, status="diverged")
    for seed in range(3):
        put(store, LR, seed)
    found, [line] = row(store, method="dfd"), [one for one in lines(store) if one[0].startswith("DFD")]
    mean = np.mean([one.metrics["top1"] for one in kept])
    assert re.fullmatch(rf"{mean:.2f} ± \d+\.\d\d \(2 of 3; 1 diverged\)", line[2])
    assert (found["runs"].split(), found["diverged_runs"]) == ([one.id for one in kept], lost.id)
    assert (found["control_seeds"], found["control_mark"]) == ("0 1", "")
    assert any("diverged" in line for line in board(store).legend)


def test_a_control_that_diverged_is_no_control(store):
    put(store, "dfd", 0), put(store, LR, 0, status="diverged")
    assert row(store, method="dfd")["control_gain"] == ""


def test_a_row_of_which_every_seed_diverged_stands_last(store):
    for seed in range(2):
        put(store, "dfd", seed, 0.99, status="diverged"), put(store, LR, seed, 0.2)
    assert [one["method"] for one in rows(store)] == [LR, "dfd"]
    assert lines(store)[1][2:4] == ["diverged (2)", "-"]


def test_a_network_that_predicts_one_class_says_so(store):
    put(store, LR, 0, metrics={"predicted_classes": 1}), put(store, LR, 1, metrics={"predicted_classes": 10})
    put(store, "dfd", 0, 0.1, metrics={"predicted_classes": 1})
    assert [line[2].partition("(")[2] for line in lines(store)] == [
        "2; predicts one class in 1)",
        "1; predicts one class)",
    ]
    assert [one["one_class"] for one in rows(store)] == ["0", "0"]  # the seeds


def test_what_failed_is_named_below_its_table_alone(store):
    put(store, LR), put(store, LR, scale=2)
    failed = [record("dfd", seed=5).spec, net("sr-espcn").spec]
    for spec in failed:
        store.write_failure(spec, "out of memory")
    small, large = boards(store)
    for run in ("DFD (resnet18) on cifar10 x4, seed 5", "ESPCN (SR net) on cifar10 x4, seed 0"):
        assert sum(f"{run}: out of memory" in note for note in small.notes) == 1
    assert "Failed" not in "\n".join(large.notes)
    assert failed[0].id not in text(store, "csv")


def test_a_table_of_failures_alone_is_there(store):
    store.write_failure(record("dfd").spec, "out of memory")
    one = board(store)
    assert one.title == "Leaderboard: cifar10 x4" and not len(one.shown) and "out of memory" in one.notes[0]
    assert "out of memory" in text(store, "md") and text(store, "csv") == "table\n"


def test_a_row_knows_its_runs_and_those_of_its_control(store):
    own = [put(store, "dfd", seed, 0.9, status=status).id for seed, status in enumerate(("done", "diverged"))]
    control = put(store, LR, 0).id
    assert board(store).runs.to_numpy().tolist() == [
        [(), (), (*own,), (control,), (), (), (), ()],
        [(), (), (control,), *[()] * 5],
    ]


# --- formats and the command ----------------------------------------------------------------------------


def test_long_names_go_on_in_a_line_of_their_own_on_a_terminal(store, monkeypatch, capsys):
    settings = SCRATCH | {"lam": 0.123456789012345, "reduction": "sum"}
    put(store, "dfd", 0, 0.8, settings, backbone="timm:mobilenetv3_small_100"), put(store, LR)
    for name, value in {"COLUMNS": "110", "FORCE_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    print_tables(boards(store))
    shown = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, shown)) <= 110
    head = next(line for line in shown if "MACs" in line)
    names = "".join(line[: head.index("epochs")] for line in shown[shown.index(head) :]).replace(" ", "")
    assert lines(store)[0][0].replace(" ", "") in names


@pytest.mark.parametrize("style", ["md", "csv", "latex", "json"])
def test_the_command_as_a_process(style, store, tmp_path):
    for seed in range(2):
        put(store, "dfd", seed, 0.8), put(store, LR, seed)
    out = tmp_path / "board"
    args = ["table", "leaderboard", "--long", "--results", store.root, "--format", style, "--out", out]
    done = process(*map(str, args))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert out.read_text() == text(store, style) and "LR-baseline" in out.read_text()


def test_an_empty_store(store):
    assert "Nothing has been run yet" in text(store, "md")
    assert json.loads(text(store, "json")) == [] and text(store, "csv") == "table\n"


def test_what_records_say_is_shown_without_torch(store):
    put(store, "dfd"), put(store)
    code = (
        "import sys, pathlib; from lrbench.store import Store; from lrbench.report import frame, tables; "
        "store = Store(pathlib.Path(sys.argv[1])); results = frame.frame(store); "
        "print(*[tables.tables(name, results, store.right) for name in tables.names()[-4:]]); "
        "from lrbench.report import figures; figures.draw('curves', results, store, store.root, print); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, store.root], text=True, capture_output=True)
    assert done.returncode == 0 and "DFD" in done.stdout and done.stdout.endswith("\nFalse\n"), done.stderr


@pytest.mark.slow
def test_many_records_each_stand_somewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(many, "TEST_IMAGES", 300)
    records = many.write(tmp_path / "runs", 200)
    found = rows(Store(tmp_path / "runs"))
    classifiers = {one.id: one for one in records if "top1" in one.metrics}
    shown = [run for one in found for run in one["runs"].split()]
    assert {*shown} == {*classifiers}
    for one in found:
        runs = [classifiers[run] for run in one["runs"].split()]
        assert len({(run.spec.method, run.spec.backbone, run.spec.width, run.spec.dataset) for run in runs}) == 1
        assert float(one["top1_mean"]) == pytest.approx(np.mean([run.metrics["top1"] for run in runs]), abs=1e-4)
        for control in one["control_runs"].split():
            assert classifiers[control].spec.method == LR and classifiers[control].spec.scale == float(one["scale"])
    per_table = {tuple(one[name] for name in ("dataset", "size")) for one in found}
    assert per_table == {(dataset, size) for dataset in ("cifar10", "svhn") for size in ("8x8", "16x16")}


def test_held_out_accuracy_stands_beside_the_test_where_images_are_held_out(store):
    held = {"select": "held-out"}
    for seed, val in ((0, 60.0), (1, 62.0)):
        put(store, seed=seed, metrics={"val_top1": val}, **held)
    assert board(store).shown.columns[4] == "held-out %"
    assert [line[4] for line in lines(store)] == ["61.00 ± 1.41 (2)"]
    assert "held-out %: top-1 on training images held out" in notes(store)


def test_without_held_out_images_there_is_no_such_column(store):
    put(store)
    assert "held-out %" not in board(store).shown.columns


def test_the_runs_of_a_table_can_be_chosen(store, tmp_path):
    put(store)
    put(store, backbone="alexnet")
    every = process("table", "leaderboard", "--results", store.root, "--baselines", "none").stdout
    one = process(
        "table", "leaderboard", "--results", store.root, "--baselines", "none", "--backbone", "alexnet"
    ).stdout
    assert "(resnet18)" in every and "(alexnet)" in every
    assert "(resnet18)" not in one and "(alexnet)" in one
    wrong = process("table", "leaderboard", "--results", store.root, "--baselines", "none", "--dataset", "cifar")
    assert wrong.returncode == 2
    assert wrong.stderr == "lrbench: there is no run of dataset 'cifar'; did you mean 'cifar10'?\n"


def test_the_runs_of_a_table_can_be_chosen_in_python(store):
    put(store)
    put(store, backbone="alexnet")
    place = {"results": store.root, "baselines": "none"}
    assert len(lr.leaderboard(**place)[0].numbers) == 2
    for backbones in ("alexnet", ["alexnet"], ("alexnet",)):
        assert list(lr.leaderboard(**place, backbones=backbones)[0].numbers["backbone"]) == ["alexnet"]
    with pytest.raises(lr.Error, match="there is no run of dataset 'cifar'; did you mean 'cifar10'"):
        lr.table("leaderboard", **place, datasets="cifar")
    with pytest.raises(lr.Error, match="no option of a table 'dataset'; did you mean 'datasets'"):
        lr.leaderboard(**place, dataset="cifar10")


def test_an_interval_is_the_same_whatever_is_shown(store):
    for backbone, gains in (("resnet18", (0.02, 0.02, 0.02)), ("alexnet", (0.3, -0.3, 0.1))):  # one varies much
        for seed, gain in enumerate(gains):
            put(store, seed=seed, backbone=backbone, accuracy=0.5)
            put(store, method="dfd", seed=seed, backbone=backbone, accuracy=0.5 + gain)
    place, interval = {"results": store.root, "baselines": "none"}, ["control_low", "control_high"]
    every = lr.leaderboard(**place)[0].numbers.set_index(["backbone", "method"])
    some = lr.leaderboard(**place, backbones="resnet18")[0].numbers.set_index(["backbone", "method"])
    assert set(some.index.get_level_values(0)) == {"resnet18"}
    assert list(some.loc[("resnet18", "dfd"), interval]) == list(every.loc[("resnet18", "dfd"), interval])


def test_with_held_out_images_the_best_on_those_stands_first(store):
    for method, val, accuracy in ((LR, 70.0, 0.5), ("dfd", 60.0, 0.9)):
        put(store, method, accuracy=accuracy, metrics={"val_top1": val}, select="held-out")
    assert [line[0] for line in lines(store)] == ["LR-baseline (resnet18)", "DFD (resnet18)"]
