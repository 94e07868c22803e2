"""From records to tables: what is averaged, what stands side by side, and what is printed."""

import csv
import importlib.util
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from helpers.records import LR, diverged, record
from helpers.tables import cell, fill, filled_from, hits, lines, numbers, paper_rows, read, render, shown, table, top1

from lrbench.errors import UserError
from lrbench.method import registry
from lrbench.report import formats, frame, published, runs
from lrbench.report.formats import FORMATS, Table, markdown
from lrbench.report.frame import SHARED
from lrbench.report.table import table as as_read

# The paper's numbers, as DESIGN section 5 has them: label -> CIFAR-10 8x8, 16x16, SVHN 8x8, 16x16.
PAPER_1 = {
    "AlexNet": (64.08, 69.10, 81.81, 87.77),
    "DFD (AlexNet)": (66.23, 71.60, 81.97, 88.35),
    "VGG-16": (78.41, 88.02, 90.40, 95.52),
    "DFD (VGG-16)": (79.97, 89.35, 91.11, 95.90),
    "ResNet-18": (79.86, 89.12, 90.45, 95.55),
    "DFD (ResNet-18)": (81.26, 90.41, 92.07, 96.02),
}
PAPER_2 = {
    "HR-baseline": (93.38,),
    "LR-baseline": (79.86,),
    "VDSR + ResNet-18": (80.00,),
    "ESPCN + ResNet-18": (79.41,),
    "SRGAN + ResNet-18": (79.05,),
    "DFD (ResNet-18)": (81.26,),
}
COLUMNS_1 = ["cifar10 8x8", "cifar10 16x16", "svhn 8x8", "svhn 16x16"]


@pytest.mark.parametrize("name, paper", [("1", PAPER_1), ("2", PAPER_2)])
def test_the_published_numbers_are_the_papers(name, paper):
    filled = table([], name)
    assert {row.label: tuple(one.published for one in row.cells) for row in filled.rows} == paper
    assert filled.columns == COLUMNS_1[: None if name == "1" else 1]
    assert all(one.ours is None and one.difference is None for row in filled.rows for one in row.cells)
    head, *body = lines(filled)
    assert head[1::3] == filled.columns and head[2::3] == ["published"] * len(filled.columns)
    for line in body:
        assert line[1::3] == line[3::3] == ["-"] * len(filled.columns)  # not run
        assert line[2::3] == [f"{number:.2f}" for number in paper[line[0].removesuffix(" †")]]
    assert "no run yet" in render([filled])


def test_which_published_rows_are_of_hr_images():
    for name in ("1", "2"):
        assert [row.label for row in table([], name).rows if row.hr] == (["HR-baseline"] if name == "2" else [])


def test_a_cell_is_mean_and_sample_deviation_over_seeds():
    draw = np.random.default_rng(0)
    scores = {"ResNet-18": draw.normal(80, 1, 4), "DFD (ResNet-18)": draw.normal(81, 1, 3)}
    methods = {"ResNet-18": LR, "DFD (ResNet-18)": "dfd"}
    records = [record(methods[one], top1, seed) for one, values in scores.items() for seed, top1 in enumerate(values)]
    filled = table(reversed(records))
    grid = {line[0]: line for line in lines(filled)}
    column = lines(filled)[0].index("cifar10 8x8")
    for label, values in scores.items():
        found, paper = cell(filled, label), PAPER_1[label][0]
        assert (found.ours["top1_mean"], found.ours["n"]) == (pytest.approx(np.mean(values)), len(values))
        sd = pytest.approx(np.std(values, ddof=1), abs=1e-6)
        assert found.ours["top1_sd"] == sd == pytest.approx(scipy.stats.tstd(values))
        assert list(found.runs["seed"]) == list(range(len(values)))
        assert found.difference == pytest.approx(np.mean(values) - paper)
        text = f"{np.mean(values):.2f} ± {scipy.stats.tstd(values):.2f} ({len(values)})"
        assert grid[label][column : column + 3] == [text, f"{paper:.2f}", f"{np.mean(values) - paper:+.2f}"]


def test_one_seed_has_no_deviation():
    assert lines(table([record(top1=79.0)], "2"))[2][-3:] == ["79.00 (1)", "79.86", "-0.86"]


CONDITIONS = {
    "recipe": "quick",
    "epochs": 50,
    "limit_train": 10_000,
    "limit_test": 1000,
    "degradation": "area",
    "select": "best-epoch",
    "batch_size": 32,
    "dropout": 0.5,
}


@pytest.mark.parametrize("changed", [*CONDITIONS, "harness"])
@pytest.mark.parametrize("name", ["1", "2"])
def test_different_conditions_never_meet(name, changed):
    changes = {"spec": {"protocol": 0}} if changed == "harness" else {changed: CONDITIONS[changed]}
    records = [record(top1=80.0), record(top1=70.0, **changes), record("dfd", top1=60.0, **changes)]
    filled = fill(name, records)
    assert sorted(sorted(top1(part)) for part in filled) == [[60.0, 70.0], [80.0]]
    headings = re.findall("Protocol: (.*)", render(filled))
    assert len(headings) == 2 and headings[0] != headings[1]


def test_the_heading_names_the_conditions():
    changes = CONDITIONS | {"limit_test": None}
    heading = re.findall("Protocol: (.*)", render([table([record(**changes)])]))
    assert heading == [
        "recipe quick, 50 epochs, batches of 32, 10,000 training and all test images, "
        "area, epoch chosen on held-out images, dropout 0.5."
    ]
    assert "final epoch" in render([table([record()])])


def test_an_earlier_protocol_is_named_and_stands_alone():
    old = record(top1=70.0, spec={"protocol": 1, "select": "val"})
    new, earlier = fill(
        published.table("1"), [old, record("dfd", 60.0, spec={"protocol": 1, "select": "val"}), record()]
    )
    assert top1(new) == [80.0] and "protocol" not in new.conditions
    assert top1(earlier) == [70.0, 60.0]
    assert earlier.conditions.endswith("epoch chosen on held-out images, protocol 1 (today's is 2)")


def test_of_one_protocol_the_fullest_table_stands_first_whatever_else_was_run():
    few = [record("dfd", 70.0, recipe="quick"), record(top1=71.0, recipe="quick")]
    held = [record(top1=72.0, select="held-out", seed=seed) for seed in range(3)]
    held += [record("dfd", settings={"lam": lam}, select="held-out") for lam in (0.1, 0.2)]  # which are no rows
    old = [record(top1=73.0, scale=scale, dropout=0.5, spec={"protocol": 1}) for scale in (2, 4)]
    old += [record("dfd", 74.0, dropout=0.5, spec={"protocol": 1})]
    filled = fill("1", [*old, *held, *few])
    assert [(one.protocol, one.count) for one in filled] == [(2, 2), (2, 1), (1, 3)]
    assert table([]).protocol is None and table([]).count == 0


def split(one, *others):
    """The sizes of the tables that runs fall into."""
    return sorted(len(part) for part in frame.tables(frame.frame([one, *others]), SHARED))


def test_every_field_of_a_spec_splits_but_rows_columns_seeds_and_precision():
    plain = record().spec
    changes = {
        "protocol": 1, "degradation": "area", "dropout": 0.25, "select": "held-out", "fingerprint": {"train": "x"},
        "limit_train": 100, "limit_test": 100, "rare_classes": "kept",
        "recipe": plain.recipe.model_copy(update={"weight_decay": 1e-4}),
    }  # fmt: skip
    alike = {
        "precision": "bf16", "seed": 7, "backbone": "vgg16", "width": 0.5, "method": "dfd",
        "version": "2", "config": {}, "dataset": "svhn", "scale": 2, "needs": {"other": plain},
    }  # fmt: skip
    assert {*changes, *alike} == {*type(plain).model_fields}
    for name, value in changes.items():
        assert split(record(), record(spec={name: value})) == [1, 1], name
    for name, value in alike.items():
        assert split(record(), record(spec={name: value})) == [2], name


def test_every_field_of_a_recipe_splits():
    plain = record().spec.recipe
    others = {"epochs": 7, "batch_size": 32, "lr": 0.3, "momentum": 0.8, "nesterov": True, "weight_decay": 1e-4,
              "schedule": "cosine", "crop": 0.25, "flip": False, "label_smoothing": 0.2, "ema": 0.9}  # fmt: skip
    for name, value in others.items():
        assert split(record(), record(spec={"recipe": plain.model_copy(update={name: value})})) == [1, 1], name
    assert {*others} <= {*type(plain).model_fields}


def test_a_field_that_is_added_later_splits_by_itself(monkeypatch):
    class Later(type(record().spec)):
        colour: str = "red"

    monkeypatch.setattr("lrbench.spec.RunSpec", Later)
    module = importlib.util.find_spec("lrbench.report.frame")
    later = importlib.util.module_from_spec(module)
    module.loader.exec_module(later)
    specs = [Later(**{**record().spec.model_dump(), "colour": colour}) for colour in ("red", "blue")]
    results = later.frame([], [(spec, "out of memory") for spec in specs])
    assert list(results["colour"]) == ["red", "blue"] and {"colour"} < {*later.SHARED}
    red, blue = (part.iloc[0] for part in sorted(later.tables(results), key=lambda one: one.iloc[0]["colour"])[::-1])
    assert "colour blue" in later.conditions(blue) and "colour" not in later.conditions(red)


def test_precision_is_noted_and_mixed_in_no_cell():
    records = [record(top1=80.0, seed=seed, precision="bf16") for seed in range(3)]
    records += [record("dfd", 81.0, seed, precision="fp32") for seed in range(3)]
    filled = table(records)
    assert "Precision: bf16, but of DFD (ResNet-18): fp32. A row is compared with its reference at" in render(
        [filled], "md"
    )
    filled = table([*records, record(top1=10.0, precision="fp32", finished="2027-01-01")])  # one later run of the other
    assert shown(filled, "ResNet-18") == "80.00 ± 0.00 (3)" and filled.left_out == 1
    assert "Precision: fp32." in render([table([record()])])


def test_a_recipe_of_ones_own_is_no_known_one():
    own = [record().spec.recipe.model_copy(update={"lr": lr}) for lr in (0.2, 0.3)]
    filled = fill("1", [record(), *(record(spec={"recipe": recipe}) for recipe in own)])
    assert len({part.conditions for part in filled}) == 3
    assert sorted(part.run["recipe"].partition(" ")[0] for part in filled) == ["custom", "custom", "paper"]


# --- like the paper's ------------------------------------------------------------------------------------


def test_as_it_is_read_a_table_has_the_papers_rows_and_columns_with_what_it_reports_below_ours():
    records = paper_rows()
    [filled] = fill("1", records, hits(records))
    head, *body = lines(filled, long=False)
    assert head == ["", *COLUMNS_1] and [line[0] for line in body[::2]] == [*PAPER_1]
    assert body[0][1:] == ["61.00±1.00"] * 4 and body[1][1:] == ["64.08", "69.10", "81.81", "87.77"]
    assert {line[0] for line in body[1::2]} == {"*published*"}
    assert [[*map(float, line[1:])] for line in body[1::2]] == [[*paper] for paper in PAPER_1.values()]
    text = render([filled], long=False)
    assert max(len(line) for line in text.splitlines() if line.startswith("|")) <= 100
    table_lines = text.partition("## How to read this")[0].splitlines()
    assert sum(line.startswith("- ") for line in table_lines) == 2 and "width 0.25 of vgg16 and resnet18" in text
    assert "- Seeds 0, 1, 2. Precision: fp32." in text


def test_the_better_of_a_pair_is_bold_and_what_is_more_than_chance_is_marked():
    records = paper_rows()
    [filled] = fill("1", records, hits(records))
    body = {line[0]: line[1:] for line in lines(filled, long=False)}
    assert body["DFD (AlexNet)"] == body["DFD (ResNet-18)"] == ["**63.00±1.00** *"] * 4
    assert body["VGG-16"] == ["**61.00±1.00**"] * 4 and body["DFD (VGG-16)"] == ["60.99±1.00"] * 4
    text = render([filled], long=False)
    assert "- *: more than chance (p < 0.05, corrected for 12 comparisons); 8 of them are." in text
    ways, networks = re.findall(r"^- ([*‡]: of .*) differs from the LR-baseline of its backbone .*'s", text, re.M)
    assert (ways, networks) == ("*: of 3 seeds or more, a row", "‡: of one seed, a row")


def test_what_is_unusual_of_a_cell_is_said_in_it():
    records = [record(top1=80.0 + seed, seed=seed) for seed in range(3)]
    records += [record("dfd", 82.0), diverged(record("dfd", seed=1)), diverged(record("dfd", seed=2))]
    records += [record(top1=70.0, scale=2), diverged(record("dfd", scale=2))]
    body = {line[0]: line[1:3] for line in lines(table(records), long=False)}
    assert body["ResNet-18"] == ["81.00±1.00", "70.00 (1)"]
    assert body["DFD (ResNet-18)"] == ["82.00 (2 div.)", "diverged"]
    assert "- Seeds 0, 1, 2. (n): n seeds. Precision" in render([table(records)], long=False)
    assert "- Seeds 0, 1, 2. Precision" in render([table(records[:6])], long=False)  # no cell says its number


def test_a_cell_of_fewer_seeds_is_never_bold_nor_beaten():
    records = [record(top1=80.0, seed=seed) for seed in range(3)] + [record("dfd", 90.0)]
    assert "**" not in render([table(records, "2")], long=False).partition("## How")[0]
    records += [record("espcn", 81.0, seed) for seed in range(3)] + [record("vdsr", 91.0)]
    bold = [line[0] for line in lines(table(records, "2"), long=False) if "**" in line[1]]
    assert bold == ["ESPCN to 16x16 + ResNet-18"]  # over three seeds; of the two single ones none


def test_hr_rows_compete_with_no_other():
    records = [record("hr-baseline", 93.0), record(top1=80.0), record("dfd", 81.0)]
    head, *body = lines(table(records, "2"), long=False)
    assert head == ["", "cifar10 8x8", "published"]  # of one column it stands beside
    assert body[0] == ["HR-baseline †", "93.00", "93.38"]
    assert body[1] == ["LR-baseline", "80.00", "79.86"] and body[-1] == ["DFD (ResNet-18)", "**81.00**", "81.26"]


def test_a_label_has_as_few_settings_as_tell_rows_apart():
    shared = {"channels": 8, "sr_pairs": "all"}
    records = [record("vdsr", settings={**shared, "sr_scale": 4, "sr_epochs": epochs}) for epochs in (6, 12)]
    records += [record("vdsr", settings={**shared, "sr_scale": 2}), record("espcn", settings=shared)]
    filled = table(records, "2")
    found = [line[0] for line in lines(filled, long=False) if "SPCN" in line[0] or "VDSR" in line[0]]
    vdsr = [f"VDSR to {one}" for one in ("16x16 + ResNet-18", *(f"32x32 + ResNet-18, sr_epochs={n}" for n in (12, 6)))]
    assert found == [*vdsr, "ESPCN to 16x16 + ResNet-18"]
    assert {"ESPCN to 16x16 + ResNet-18, sr_pairs=all, channels=8"} < {line[0] for line in lines(filled)}
    left_out = "Settings that the rows leave out: VDSR to 16x16 + ResNet-18: sr_pairs=all channels=8; VDSR to 32x32"
    assert left_out in render([filled], long=False)


@pytest.mark.parametrize("scale, label", [(2, "to 16x16 +"), (4, "to 32x32 +")])
def test_a_row_of_table_2_always_says_to_which_size_its_net_enlarges(scale, label):
    """Also where no other row has its name, and at the default."""
    filled = table([record("vdsr", settings={"sr_scale": scale})], "2")
    [found] = [row for row in filled.rows if row.method == "vdsr"]
    assert found.label == found.short_label(filled.rows) and found.label.startswith(f"VDSR {label}")


def test_a_published_row_may_name_its_runs_by_one_of_its_settings():
    names = {"lam=0.5": "Half", "reduction=sum": "Summed"}
    free = ("reduction", "lam")
    row = published.PublishedRow("Plain", "dfd", "resnet18", (None,), free=free, labels=names)
    source = published.PublishedTable("Any", "nobody", "none", (("cifar10", 4, 32),), (row,))
    settings = [{}, {"lam": 0.5}, {"reduction": "sum"}, {"lam": 0.5, "reduction": "sum"}, {"lam": 0.25}]
    [filled] = fill(source, [record("dfd", settings=one) for one in settings])
    labels = [one.label for one in filled.rows]
    assert labels == ["Half", "Half, reduction=sum", "Plain, lam=0.25", "Plain", "Summed"]


def test_how_to_read_them_is_said_once_below_several_tables():
    text = render(fill("1", [record(), record(dropout=0.25)]), long=False)
    assert text.count("## Table 1") == 2 and text.count("mirrored digit") == text.count("## How to read this") == 1


def test_emphasis_in_each_style():
    found = as_read(table([record(), record("dfd", 81.0)]))
    assert r"\textbf{81.00} & " in formats.latex([found]) and r"\textit{published} & 79.86" in formats.latex([found])
    html = found._repr_html_()
    assert "<b>81.00</b>" in html and "<i>published</i>" in html and "*" not in html.partition("<ul>")[0]


def test_a_note_says_from_where_runs_came_if_not_from_the_users_own_and_latex_does_not():
    records = [record(), record("dfd", 81.0, 1), record(dropout=0.5)]
    results = frame.frame(records).assign(origin=[None, "/their/runs", "/their/runs"])
    some, every = (as_read(one) for one in filled_from("1", results))
    assert some.notes[-1] == "1 of 2 runs here came from /their/runs, not from your own results."
    assert every.notes[-1] == "All runs here came from /their/runs, not from your own results."
    assert "their" in markdown([some]) and "their" not in formats.latex([some, every])


def test_latex_explains_what_stands_in_its_cells():
    records = paper_rows()
    [filled] = fill("1", records, hits(records))
    [caption] = re.findall(r"\\caption{(.*)}", render([filled], "latex", long=False))
    assert caption.startswith(r"Top-1 accuracy (\%) with different backbones. Protocol: recipe paper")
    paper = "published: Zhu et al., ICASSP 2019 (width 1, the whole training set, 100 epochs"
    bold = (
        "Mean±sample standard deviation over seeds; bold: the highest of one backbone, equal budget and the most seeds"
    )
    marks = "marks: compared with the LR-baseline of the same backbone and budget"
    assert f"{bold}; {marks}; {paper}" in caption and "*: more than chance (p $<$ 0.05, corrected for 12" in caption
    assert "†" not in caption
    text = render([table([record("hr-baseline", 93.0)], "2")], "latex", long=False)
    assert "one number without a spread); † trained and tested on HR images. Seed 0." in text
    assert not any(word in text.partition(r"\begin{tabular}")[0] for word in ("bold", "marks", "standard deviation"))


# --- what else one has to know --------------------------------------------------------------------------


def test_what_diverged_is_counted_beside_the_mean_of_the_others():
    records = [record(top1=80.0 + seed, seed=seed) for seed in range(2)] + [diverged(record(seed=2))]
    records += [diverged(record("dfd", seed=seed)) for seed in range(2)]
    filled = table(records)
    grid = {line[0]: line for line in lines(filled)}
    assert grid["ResNet-18"][1:4] == ["80.50 ± 0.71 (2 of 3; 1 diverged; predicts one class in 1)", "79.86", "+0.64"]
    assert grid["DFD (ResNet-18)"][1:4] == ["diverged (2; predicts one class)", "81.26", "-"]
    plain, told = (numbers(filled)[label] for label in ("ResNet-18", "DFD (ResNet-18)"))
    assert (plain["n"], plain["diverged"], plain["top1_mean"]) == (2, 1, 80.5)
    assert (plain["runs"].split(), plain["diverged_runs"]) == ([one.id for one in records[:2]], records[2].id)
    assert (told["n"], told["diverged"], told["top1_mean"], told["one_class"]) == (0, 2, None, "0 1")


def test_one_class_is_said_wherever_it_is_so():
    guessing = record(top1=18.75)
    guessing = guessing.model_copy(update={"metrics": guessing.metrics | {"predicted_classes": 1}})
    text = render([table([guessing, record("dfd", 70.0)])])
    assert "| 18.75 (1; predicts one class) |" in text and text.count("one class") == 1
    assert "18.75, predicts one class" in str(runs.table(frame.frame([guessing])))


def test_what_run_prints_of_runs_that_diverged():
    text = str(runs.table(frame.frame([record("dfd", 80.0), record("dfd", 81.0, 1), diverged(record("dfd", seed=2))])))
    assert "diverged in epoch 3" in text and "80.50 ± 0.71 (2 of 3; 1 diverged" in text and "10.00" not in text


def test_a_run_that_failed_is_named_below_the_table_that_misses_it():
    def failed(method="dfd", why="out of memory", **changes):
        return record(method, **changes).spec, why

    failures = [failed(seed=1), failed("hr-baseline", "no data"), failed(dropout=0.25)]
    failures += [failed(dataset="mine", why="no"), failed("vdsr", "not of this table")]
    failures += [failed(seed=2, scale=2, why="no space"), failed("hr-baseline", "of others", dropout=0.5)]
    filled = fill("1", [record(), record("dfd")], failures=failures)
    wide, dropped, others = sorted(filled, key=lambda one: one.run["dropout"])
    assert sorted(wide.failed["why"]) == ["no data", "no space", "out of memory"]
    assert "- Failed, and missing here: DFD (resnet18) on cifar10 x4, seed 1: out of memory." in render([wide])
    assert not top1(dropped) and list(dropped.failed["dropout"]) == [0.25] and list(others.failed["dropout"]) == [0.5]
    done = record("dfd", seed=1)
    [filled] = fill("1", [record(), done], failures=[(done.spec, "it was tried again")])
    assert not len(filled.failed)


def test_a_run_that_failed_is_named_though_its_row_is_empty_and_narrow():
    narrow = {"width": 0.25}
    free = {"sr_pairs": "all"}  # a setting that the paper leaves open
    failures = [
        (record("vdsr", **narrow).spec, "out of memory"),
        (record("espcn", settings=free, **narrow).spec, "no space"),
        (record("vdsr").spec, "of another width"),
    ]
    [filled] = fill("2", [record(**narrow)], failures=failures)
    assert list(filled.failed["why"]) == ["out of memory", "no space"]


def test_the_teachers_score_stands_beside_the_students():
    students = [record("dfd", 81.0 + seed, seed) for seed in range(2)]
    teachers = [record("hr-baseline", 93.0 + seed, seed) for seed in range(2)]
    assert students[0].spec.needs["teacher"] == teachers[0].spec
    filled = table([*students, *teachers, record()])
    assert "teachers' top-1 %: DFD (ResNet-18), cifar10 8x8: 93.50 ± 0.71 (2), 100 epochs." in render([filled])
    flat = {label: (line["teacher_top1"], line["teacher_epochs"]) for label, line in numbers(filled).items()}
    assert flat == {"DFD (ResNet-18)": (93.5, "100"), "ResNet-18": (None, "")}
    assert "teachers'" not in render([table([*students, record()])])  # it is not in the store


def test_sr_rows_say_what_their_sr_net_has_seen():
    vdsr = record("vdsr", 80.0, settings={"sr_pairs": "all"})
    vdsr = vdsr.model_copy(update={"metrics": vdsr.metrics | {"macs": 206_700_000}})
    spec = vdsr.spec.needs["restorer"]
    metrics = {"psnr": 25.0, "epochs_in_weights": 12, "images_per_second": 9.0}
    facts = vdsr.data.model_copy(update={"train_images": 50_000})
    net = vdsr.model_copy(update={"id": spec.id, "spec": spec, "metrics": metrics, "data": facts})
    limited = record("vdsr", 79.0)
    filled = table([vdsr, net, limited, record()], "2")
    text = render([filled])
    assert (
        "VDSR to 16x16 + ResNet-18, sr_pairs=all: its SR net was trained on 50,000 images for 12 epochs; 206.7 million"
        in text
    )
    labels = [row.label for row in filled.rows if row.method == "vdsr"]
    assert sorted(labels) == ["VDSR to 16x16 + ResNet-18", "VDSR to 16x16 + ResNet-18, sr_pairs=all"]
    flat = numbers(filled)["VDSR to 16x16 + ResNet-18, sr_pairs=all"]
    assert (flat["sr_images"], flat["sr_epochs"], flat["macs"]) == ("50000", "12", 206_700_000)


def test_runs_of_one_id_with_other_weights_are_noted():
    def learned_from(weights, seed=0, **changes):
        return record("dfd", seed=seed, **changes).model_copy(update={"needs_weights": {"teacher": weights}})

    teacher = record("hr-baseline").model_copy(update={"files": {"weights.safetensors": "aa"}})
    same, other = learned_from("aa"), learned_from("bb")
    assert "more than once" not in render([table([teacher, same, record()], "2")])
    text = render([table([teacher, other, record()], "2")])
    said = "Trained more than once, to different weights: HR-baseline (resnet18) on cifar10 HR, seed 0. 1 of the 1 uses"
    assert said in text
    vgg = {"backbone": "vgg16"}
    pair = learned_from("aa", **vgg), learned_from("bb", scale=2, **vgg)  # two that differ, of a teacher that is gone
    gone = f"The teacher {pair[0].spec.needs['teacher'].id}, which is not here"
    assert f"to different weights: {gone}. 1 of the 2 uses" in render([table(pair)])


def test_alexnets_own_learning_rate_is_the_same_recipe():
    filled = table([record(), record(backbone="alexnet", top1=60.0)])
    assert cell(filled, "ResNet-18").ours["top1_mean"] == 80.0 and cell(filled, "AlexNet").ours["top1_mean"] == 60.0


def test_one_hr_run_stands_in_every_column_of_its_data_set():
    hr = record("hr-baseline", top1=93.0)
    others = [record("hr-baseline", top1=1.0, dropout=0.25), record("hr-baseline", top1=2.0, dataset="mine")]
    places = [("cifar10", scale, degradation) for scale in (2, 4) for degradation in ("pil-bicubic", "area")]
    students = [record(dataset=name, scale=scale, degradation=degradation) for name, scale, degradation in places]
    split = frame.tables(frame.frame([hr, *others, *students, record(dataset="svhn")]), SHARED)
    for degradation in ("pil-bicubic", "area"):
        [own] = [one for one in split if {*one["degradation"]} == {degradation} and {*one["dropout"]} == {0}]
        places = own.loc[own["id"] == hr.id, ["dataset", "scale"]]
        assert sorted(places.itertuples(index=False)) == [("cifar10", 2), ("cifar10", 4)]
    alone = [one for one in split if one["degradation"].isna().all()]  # of HR runs only
    assert sorted(top1 for one in alone for top1 in one["top1"]) == [1.0, 2.0]
    text = render([table([hr, record()], "2")])
    assert re.search(r"\| HR-baseline † +\|", text) and "† trained and tested on HR images" in text


def test_hr_runs_alone_make_a_table():
    filled = table([record("hr-baseline", 90.0, seed) for seed in (0, 1)], "2")
    assert cell(filled, "HR-baseline").published == 93.38 and cell(filled, "HR-baseline").ours["n"] == 2


def test_the_hr_row_of_table_2_is_filled():
    filled = table([record("hr-baseline", 93.0), record()], "2")
    assert cell(filled, "HR-baseline").difference == pytest.approx(-0.38)
    assert [line[0] for line in lines(filled)][1] == "HR-baseline †"


def test_a_table_has_the_published_rows_and_columns_and_nothing_else():
    records = [
        record(dataset="mine", side=28),
        record("dfd", settings={"lam": 0.25}),
        record(scale=8),
    ]
    filled = table([*records, record(dataset="svhn", top1=90.0)])
    assert filled.columns == COLUMNS_1 and [row.label for row in filled.rows] == [*PAPER_1]
    assert top1(filled) == [90.0]
    assert cell(filled, "ResNet-18", "svhn 8x8").difference == pytest.approx(-0.45)


def test_runs_that_are_no_row_make_no_table():
    filled = table([record("dfd", settings={"lam": 0.25}), record(dataset="mine"), record(width=0.5, scale=8)])
    assert filled.run is None and "Nothing has been run yet of these rows" in render([filled])


def test_table_2_takes_only_its_backbone():
    assert table([record(backbone="alexnet")], "2").run is None
    assert len(fill("2", [record(), record(backbone="vgg16", width=0.25)])) == 1


def test_a_width_is_said_of_the_rows_or_of_the_table_where_all_have_it():
    narrow = record(backbone="vgg16", width=0.25)
    both, alone, wide = table([record(), narrow]), table([narrow]), table([record()])
    assert both.conditions == f"{wide.conditions}, width 0.25 of vgg16"
    assert alone.conditions == f"{wide.conditions}, width 0.25"
    assert [row.label for row in both.rows] == [row.label for row in alone.rows] == [*PAPER_1]
    assert {label: line["width"] for label, line in numbers(both).items()} == {"VGG-16": 0.25, "ResNet-18": 1.0}


def test_a_setting_that_the_paper_leaves_open_has_rows_of_its_own():
    records = [
        record("vdsr", 81.0),
        record("vdsr", 70.0, settings={"channels": 8}),
        record("vdsr", settings={"init": "teacher"}),
    ]
    records += [record("vdsr", 71.0, seed=1, settings={"channels": 8})]
    filled = table(records, "2")
    labels = [row.label for row in filled.rows if row.method == "vdsr"]
    assert sorted(labels) == ["VDSR to 16x16 + ResNet-18", "VDSR to 16x16 + ResNet-18, channels=8"]
    assert cell(filled, "VDSR to 16x16 + ResNet-18, channels=8").ours["n"] == 2
    assert cell(filled, "VDSR to 16x16 + ResNet-18").ours["n"] == 1


def test_a_setting_that_is_newer_than_a_run_has_its_default_there():
    run = record("dfd")
    config = {name: value for name, value in run.spec.config.items() if name != "reduction"}
    assert cell(table([record("dfd", spec={"config": config})]), "DFD (ResNet-18)").ours["n"] == 1


TRAINED_ON = published.PublishedTable(
    "Trained on", "nobody", "none", (("cifar10", 4, 32),),
    (
        published.PublishedRow("HR-baseline", "hr-baseline", "resnet18", (None,)),
        published.PublishedRow("LR-baseline", LR, "resnet18", (None,)),
        published.PublishedRow("DFD, trained on", "dfd", "resnet18", (None,), {"init": "lr-baseline"}),
    ),
)  # fmt: skip


def test_unequal_budgets_are_said_and_shown():
    hr = record("hr-baseline", 93.0)
    records = [hr, record(settings={"init": "scratch"}), record("dfd", settings={"init": "lr-baseline"})]
    [filled] = fill(TRAINED_ON, records)
    head, *body = lines(filled)
    epochs = {line[0]: line[1] for line in body if line[1] != "-"}
    assert head[1] == "epochs" and sorted(epochs.values()) == ["100", "100", "200"]
    assert epochs["LR-baseline"] == epochs["HR-baseline †"] == "100"
    assert "Budgets are unequal" in render([filled])
    tex = render([filled], "latex")
    assert "Budgets are unequal" in tex and "Method & epochs & cifar10" in tex and "LR-baseline & 100 & " in tex
    assert numbers(filled)["DFD, trained on"]["epochs_in_weights"] == 200


def test_equal_budgets_are_not_worth_a_word():
    records = [record("hr-baseline", 93.0, spec={"recipe": record().spec.recipe}), record(), record("dfd")]
    filled = table(records, "2")  # a longer HR run would be no competitor: it does not count
    assert "epochs" not in lines(filled)[0] and "Budgets" not in render([filled]) + render([filled], "latex")


def test_two_contents_of_one_name_never_meet():
    before = {"fingerprint": {"train": "aa", "test": "bb"}}
    old = [record("hr-baseline", spec=before), record(spec=before)]
    new = record("dfd", top1=90.0, spec={"fingerprint": {"train": "cc", "test": "bb"}})
    first, second = fill("2", [*old, new])
    labels = [{row.label for row in one.rows if len(row.runs)} for one in (first, second)]
    assert {"HR-baseline", "LR-baseline"} in labels and {"DFD (ResNet-18)"} in labels
    assert first.conditions != second.conditions and "with content" in first.conditions


def test_older_versions_are_left_out_and_counted():
    old = [record(top1=10.0, seed=s, finished="2026-01-02", spec={"version": "draft-a"}) for s in (0, 1)]
    new = [record(top1=80.0 + s, seed=s, finished=f"2026-02-0{s}", spec={"version": "draft-b"}) for s in (2, 3)]
    filled = table([*new, *old], "2")
    ours = cell(filled, "LR-baseline").ours
    assert (ours["top1_mean"], ours["n"], filled.left_out) == (82.5, 2, 2)
    assert "2 run(s) of older versions or another precision of these rows are left out" in render([filled])
    assert "older versions" not in render([table(new, "2")])


def test_a_teachers_older_version_is_left_out_too():
    def dfd(seed, finished, version):
        run = record("dfd", seed=seed, finished=finished)
        teacher = run.spec.needs["teacher"].model_copy(update={"version": version})
        return record("dfd", seed=seed, finished=finished, spec={"needs": {**run.spec.needs, "teacher": teacher}})

    filled = table([dfd(0, "2026-01-01", "1"), dfd(0, "2026-01-02", "2"), dfd(1, "2026-01-03", "2")], "2")
    assert cell(filled, "DFD (ResNet-18)").ours["n"] == 2 and filled.left_out == 1


def test_the_runs_behind_a_number_stay_with_it():
    records = [record("dfd", seed=0), diverged(record("dfd", seed=1)), record(), record("dfd", scale=2)]
    found = as_read(table([*records, record("hr-baseline", epochs=7)]), long=True)
    assert found.runs.shape == found.shown.shape and list(found.runs) == list(found.shown)
    behind = {(r, c): found.runs.iloc[r, c] for r in range(len(found.runs)) for c in range(len(found.shown.columns))}
    assert {place: ids for place, ids in behind.items() if ids} == {
        (5, list(found.shown).index("cifar10 8x8")): (records[0].id, records[1].id),
        (5, list(found.shown).index("cifar10 16x16")): (records[3].id,),
        (4, list(found.shown).index("cifar10 8x8")): (records[2].id,),
    }


STRANGE = r"50%_better & #1 {x} ^~$ \o/ | `y`"


@pytest.fixture
def strange():
    """A table with a row of a method that is not installed, whose names are full of special characters."""
    config = {"kind": "a|b_%", "nested": {"x": [1, 2]}}
    row = published.PublishedRow(f'{STRANGE} nested={{"x": [1, 2]}}', STRANGE, "resnet18", (50.0, None), config)
    plain = published.PublishedRow("ResNet-18", LR, "resnet18", (79.86, None))
    source = published.PublishedTable("A_b", "50% #1", "none", (("cifar10", 4, 32), ("pix_x-2", 4, 16)), (row, plain))
    spec = {"method": STRANGE, "config": config}
    [filled] = fill(source, [record(spec=spec), record(dataset="pix_x-2", side=16, spec=spec), record()])
    assert {*filled.rows[0].runs["name"]} == {f'{STRANGE} kind=a|b_% nested={{"x": [1, 2]}}'}
    return filled


@pytest.mark.parametrize("style", FORMATS)
def test_a_method_that_is_not_installed_still_renders(strange, style):
    text = render([strange], style)
    assert "better" in text and "79.86" in text and re.search(r"\b80\b", text)


def test_markdown_is_a_valid_grid(strange):
    for filled in (strange, table([]), table([], "2")):
        grid = lines(filled)
        assert len({len(line) for line in grid}) == 1 and len(grid) == 1 + len(filled.rows)
        widths = {len(line) for line in render([filled]).splitlines() if line.startswith("|")}
        assert len(widths) == 1  # padded: it reads well as plain text too
    assert STRANGE.replace("|", r"\|") in render([strange])


@pytest.mark.parametrize("style", ["csv", "json"])
def test_the_long_form_has_every_number(strange, style):
    found = read(render([strange], style), style)
    cells = [(row, each) for row in strange.rows for each in row.cells if each.ours or each.published]
    assert len(found) == len(cells)
    for line, (row, each) in zip(found, cells, strict=True):
        assert line["row"] == row.label and line["method"] == row.method
        assert json.loads(line["config"]) == json.loads(row.config)
        assert (line["recipe"], int(line["recipe.epochs"]), float(line["width"])) == ("paper", 100, 1.0)
        for name, value in [
            ("top1_mean", each.ours and each.ours["top1_mean"]),
            ("published", each.published),
            ("difference", each.difference),
        ]:
            missing = line[name] in ("", None)
            assert value is None if missing else float(line[name]) == pytest.approx(value, abs=1e-4)
        assert (line["runs"] or "").split() == list(each.runs["id"])


@pytest.mark.parametrize("style", ["csv", "json"])
def test_the_long_form_without_records_is_the_paper(style):
    found = read(render([table([], "2")], style), style)
    assert [(line["row"], float(line["published"])) for line in found] == [(k, v) for k, (v,) in PAPER_2.items()]
    assert {line["recipe"] for line in found} <= {"", None} and {line["n"] for line in found} <= {"0", 0}
    assert [line["tested_on"] for line in found] == ["hr", *["lr"] * 5]
    assert {*found[0]} == {*numbers(table([record()]))["ResNet-18"]}  # the columns are those of every table


def test_csv_keeps_one_header_for_several_tables():
    records = [record(), record(dropout=0.25)]
    text = render(fill("1", records) + fill("2", records), "csv")
    head, *body = csv.reader(io.StringIO(text))
    assert {len(line) for line in body} == {len(head)} and head not in body
    assert {line[0][:7] for line in body} == {"Table 1", "Table 2"}


def test_latex_is_balanced_and_escaped(strange):
    for filled in (strange, table([]), table([record("hr-baseline"), record()], "2")):
        text = render([filled], "latex")
        plain = text.replace(r"\{", "").replace(r"\}", "")
        depth = np.cumsum([{"{": 1, "}": -1}.get(character, 0) for character in plain])
        assert depth.min() >= 0 and depth[-1] == 0
        told = [line for line in text.splitlines() if not line.startswith("% ")]  # comments say how to read it
        assert not re.search(r"(?<!\\)[%#_~]|[`]", "\n".join(told))
        assert len(re.findall(r"(?<!\\)\$", text)) % 2 == 0
        begun, ended = re.findall(r"\\begin{(\w+)}", text), re.findall(r"\\end{(\w+)}", text)
        assert begun == ended[::-1] == ["table", "tabular"]
        columns = len(re.search(r"\\begin{tabular}{@{}(\w+)@{}}", text)[1])
        *heads, body = text.partition(r"\midrule")[::2]
        body = [line for line in body.splitlines() if line.endswith(r" \\")]
        assert len(body) == len(filled.rows) and heads[0].count(r" \\") in (1, 2)
        assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in body} == {columns}
    text = render([strange], "latex")
    assert r"50\%\_better \& \#1 \{x\} \textasciicircum{}\textasciitilde{}\$ \textbackslash{}o/ $|$ 'y'" in text
    assert r"pix\_x-2 4$\times$4" in text  # the times sign stands in the size alone


@pytest.mark.parametrize(
    "call, hint",
    [
        (lambda: formats.render([], "latx"), "no format 'latx'; did you mean 'latex'?"),
        (lambda: formats.render([], "markdown"), "no format 'markdown'; choose from md, csv, latex, json"),
        (lambda: published.table("3"), "no table '3'; choose from 1, 2"),
    ],
)
def test_an_unknown_name_ends_in_the_nearest(call, hint):
    with pytest.raises(UserError, match=re.escape(hint)):
        call()


def test_what_run_prints():
    records = [record("dfd", 80.0 + seed, seed) for seed in range(3)]
    found = runs.table(frame.frame(records))
    about = "cifar10, resnet18, recipe paper, 100 epochs, batches of 128, all training and all test"
    assert found.conditions.startswith(about) and not found.notes
    assert list(found.shown["top-1 %"]) == ["80.00", "81.00", "82.00", "81.00 ± 1.00 (3)"]
    assert list(found.shown["id"]) == [*(one.id for one in records), ""] and "†" not in str(found)
    one = str(runs.table(frame.frame([record("hr-baseline", 93.0)])))
    assert "HR-baseline †" in one and "93.00" in one and "†" in one.splitlines()[-1] and "±" not in one


def test_a_drafts_label_and_defaults_are_used(monkeypatch):
    class Draft(registry.method(LR)):
        name, label = "drafty", "My draft"

    monkeypatch.setitem(registry._drafts, "drafty", (Draft, "a test"))
    assert list(frame.frame([record("drafty")])["name"]) == ["My draft"]


def test_a_table_without_a_line_is_its_title_and_notes():
    text = markdown([Table("Tuned", "no run yet", pd.DataFrame(columns=["", "a"]), ["Nothing was run."])])
    assert text == "## Tuned\n\nProtocol: no run yet.\n\n- Nothing was run.\n"


@pytest.mark.parametrize("width", [40, 80, 300])
def test_on_a_terminal_a_table_fits_its_width(strange, width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")  # as if it were one
    found = [as_read(one, long) for one in (strange, table([record(), record("dfd", 81.0)])) for long in (False, True)]
    formats.print_tables(found)
    text = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert max(map(len, text.splitlines())) <= width
    for one in found:
        cells = [formats.emphasized(cell, "%s", "%s") for cell in one.shown.iloc[:, 1:].to_numpy().flat]
        assert all(value in text for value in (*one.shown.columns[1:], *cells))
        assert all(word in text for note in one.notes for word in note.split() if len(word) <= width)


def test_in_a_pipe_a_table_is_markdown(capsys):
    found = as_read(table([record()]))
    formats.print_tables([found])
    assert capsys.readouterr().out == markdown([found])


def test_a_table_to_be_read_waits_for_no_interval(monkeypatch):
    def resampled(one):
        raise AssertionError("the bootstrap is for the long form")

    monkeypatch.setattr("lrbench.report.compare.Comparison.resampled", property(resampled))
    hits = np.random.default_rng(0).random((2, 10_000)) < 0.8
    records = [record(), record("dfd", 81.0)]
    [filled] = fill("1", records, lambda run: hits[int(run == records[1].id)])
    assert "+1.00 (" in render([filled]) and "+1.00 (" in render([filled], "latex")
    with pytest.raises(AssertionError, match="long form"):
        render([filled], "csv")
