"""Fig. 2 and the table `tuned`: one setting swept, drawn, and chosen."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from helpers.records import LR, diverged, record

from lrbench.errors import UserError
from lrbench.report import figure_of_setting, published, sweep, tuned
from lrbench.report.formats import FORMATS, render
from lrbench.report.frame import frame
from lrbench.report.ways import summary

FIG_2 = published.figure("fig2")
BACKBONES = ("alexnet", "vgg16", "resnet18")


def right(run):
    """Two images, of which every run gets the first right."""
    return np.array([True, False])


TRAINED_ON = {"init": "lr-baseline"}  # DFD, and the control of the same budget


def swept(scores, seeds=1, val=None, settings=TRAINED_ON, **changes):
    """Runs of DFD: value of lambda -> top-1 of seed 0, each seed a point above the one before."""
    made = []
    for lam, top1 in scores.items():
        for seed in range(seeds):
            one = record("dfd", top1 + seed, seed, {"lam": lam, **settings}, **changes)
            made.append(one if val is None else validated(one, val[lam] + seed))
    return made


def plain(*args, **changes):
    """The same, from scratch, as by default."""
    return swept(*args, settings={}, **changes)


def validated(one, top1):
    return one.model_copy(update={"metrics": one.metrics | {"val_top1": top1}})


def baselines(top1, control, seeds=1, **changes):
    return [
        record(LR, score + seed, seed, settings, **changes)
        for score, settings in ((top1, {}), (control, TRAINED_ON))
        for seed in range(seeds)
    ]


def figure(records, settings=TRAINED_ON, note=lambda message: None, **options):
    found = figure_of_setting.chosen(FIG_2, frame(records), note, settings=settings, **options)
    return figure_of_setting.draw(FIG_2, found)


def legend(drawn):
    [found] = drawn.legends
    return [text.get_text() for text in found.get_texts()]


def levels(panel):
    """Height -> dashes of the lines that go across a panel."""
    across = [line for line in panel.lines if list(line.get_xdata()) == [0, 1]]
    return {float(line.get_ydata()[0]): line._dash_pattern[1] for line in across}


def bands(panel):
    """The lower and upper edges of what is filled across a panel."""
    return sorted((patch.get_y(), patch.get_y() + patch.get_height()) for patch in panel.patches)


def test_the_sweep_is_the_papers():
    assert FIG_2.values == (0.1, 0.2, 0.5, 1, 2, 5, 10) and FIG_2.chosen == 2
    assert (FIG_2.column, tuple(FIG_2.backbones)) == (("cifar10", 4, 32), BACKBONES)
    with pytest.raises(ValueError, match=r"= 3 is not one of the values"):
        replace(FIG_2, chosen=3.0)


def test_fig2_has_a_panel_for_each_backbone_with_the_levels_to_beat_and_a_log_axis():
    records = []
    for number, backbone in enumerate(BACKBONES):
        records += swept({0.1: 70.0, 2.0: 72.0, 10.0: 71.0}, seeds=2, backbone=backbone)
        records += baselines(60.0 + number, 65.0 + number, seeds=2, backbone=backbone)
    drawn = figure(records)
    assert [panel.get_title(loc="left") for panel in drawn.axes] == [
        f"{backbone}, 2 seeds" for backbone in ("AlexNet", "VGG-16", "ResNet-18")
    ]
    assert {"DFD", "LR-baseline, ± sd", "LR-baseline, equal budget, ± sd", "the paper's λ"} < {*legend(drawn)}
    assert [text.get_text() for text in drawn.axes[-1].get_xticklabels()] == ["0.1", "0.2", "0.5", "1", "2", "5", "10"]
    sd = np.std([0, 1], ddof=1)
    for number, panel in enumerate(drawn.axes):
        assert panel.get_xscale() == "log"
        [curve] = panel.containers
        assert curve.lines[0].get_xdata().tolist() == [0.1, 2, 10]
        assert curve.lines[0].get_ydata().tolist() == [70.5, 72.5, 71.5]
        [bars] = curve.lines[2]
        assert [upper[1] - lower[1] for lower, upper in bars.get_segments()] == pytest.approx([2 * sd] * 3)
        plain, control = 60.5 + number, 65.5 + number
        dashes = levels(panel)
        assert dashes[plain] and dashes[control] and dashes[plain] != dashes[control]
        assert np.array(bands(panel)) == pytest.approx(
            np.array([[plain - sd, plain + sd], [control - sd, control + sd]])
        )
    assert drawn.get_figwidth() < 3.5 and drawn.get_suptitle().startswith("cifar10 8x8: recipe paper, 100 epochs")


def test_the_published_baseline_is_drawn_where_the_protocol_is_the_papers():
    drawn = figure(plain({1.0: 70.0, 2.0: 71.0}), settings={})
    assert levels(drawn.axes[0]).keys() == {79.86} and "LR-baseline, published" in legend(drawn)
    others = ({"spec": {"width": 0.5}}, {"limit_train": 10_000}, {"scale": 2}, {"recipe": "quick"}, {"epochs": 5})
    for other in (*others, {"select": "held-out"}, {"degradation": "area"}, {"dropout": 0.5}, {"batch_size": 64}):
        drawn = figure(plain({1.0: 70.0, 2.0: 71.0}, **other), settings={})
        assert not levels(drawn.axes[0]) and "LR-baseline, published" not in legend(drawn)


def test_one_place_is_drawn_and_the_others_are_named():
    records = swept({1.0: 70.0, 2.0: 71.0}) + swept({1.0: 60.0, 2.0: 61.0, 5.0: 62.0}, degradation="area")
    records += swept({1.0: 90.0, 2.0: 91.0}, scale=2) + swept({1.0: 50.0}, dataset="svhn")
    said = []
    [panel] = figure(records, note=said.append).axes
    assert panel.containers[0].lines[0].get_ydata().tolist() == [60, 61, 62]  # the paper's place, most values
    assert [one.partition(", ")[0] for one in said] == ["not drawn: cifar10 8x8", "not drawn: cifar10 16x16"]
    [panel] = figure(records, scale=2).axes
    assert panel.containers[0].lines[0].get_ydata().tolist() == [90, 91]


def test_other_settings_are_other_sweeps_whose_control_is_their_own():
    records = swept({1.0: 70.0, 2.0: 71.0}) + plain({1.0: 50.0, 2.0: 51.0}) + baselines(40.0, 45.0)
    [own] = figure_of_setting.chosen(FIG_2, frame(records))
    [longer] = figure_of_setting.chosen(FIG_2, frame(records), settings=TRAINED_ON)
    assert list(longer.points) == [1, 2]
    assert [summary(runs)["top1_mean"] for runs in longer.others()] == [40, 45]
    reference, control = own.others()
    assert list(own.points) == [1, 2] and summary(reference)["top1_mean"] == 40
    assert control.empty, "it is the reference itself: budgets are equal"
    assert "LR-baseline, equal budget, ± sd" not in legend(figure(records, settings={}))
    assert "LR-baseline, equal budget, ± sd" in legend(figure(records))


def test_a_lambda_at_which_runs_diverged_is_marked_there():
    records = swept({0.1: 70.0, 2.0: 72.0, 10.0: 71.0}, seeds=3) + baselines(60.0, 65.0)
    lost = {(5.0, seed) for seed in range(3)} | {(10.0, 0)}
    records += swept({5.0: 30.0}, seeds=3)
    records = [diverged(one) if (one.spec.config.get("lam"), one.spec.seed) in lost else one for one in records]
    drawn = figure(records)
    [panel] = drawn.axes
    curve = panel.containers[0]
    assert panel.get_title(loc="left") == "ResNet-18, 3 seeds"
    assert curve.lines[0].get_xdata().tolist() == [0.1, 2, 10]
    assert curve.lines[0].get_ydata().tolist() == [71, 73, 72.5]  # of 10, the mean of the two that are left
    crosses = {line.get_xdata()[0]: line for line in panel.lines if line.get_marker() == "X"}
    assert set(crosses) == {5.0, 10.0} and all(0 < line.get_ydata()[0] < 1 for line in crosses.values())
    said = {text.xy[0]: text.get_text() for text in panel.texts if " of " in text.get_text()}
    assert said == {5.0: "3 of 3", 10.0: "1 of 3"}
    assert "diverged, of how many runs" in legend(drawn)
    assert "diverged, of how many runs" not in legend(figure(swept({1.0: 70.0, 2.0: 71.0})))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"datasets": ["cifar"]}, "did you mean 'cifar10'"),
        ({"settings": {"inti": "scratch"}}, "did you mean 'init'"),
        ({"settings": {"lam": 1}}, "lam is what this figure sweeps"),
        ({"settings": {"init": "teacher"}}, "no run of dfd to draw; start with 'lrbench run'"),
        ({"scale": 8}, "no run of dfd on scale '8' to draw; choose from 4"),
    ],
)
def test_what_cannot_be_drawn_is_named(options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        figure(plain({1.0: 70.0, 2.0: 71.0}), **{"settings": {}} | options)


def test_one_value_is_no_line():
    with pytest.raises(UserError, match="lam was run at one value only"):
        figure(plain({1.0: 70.0}), settings={})


def test_a_point_that_predicts_one_class_is_counted():
    records = swept({1.0: 70.0, 2.0: 18.75})
    records[1] = records[1].model_copy(update={"metrics": records[1].metrics | {"predicted_classes": 1}})
    [panel] = figure(records).axes
    assert panel.get_title(loc="left") == "ResNet-18, 1 seed, 1 run of one class only"


def test_a_value_at_which_a_run_diverged_is_not_chosen():
    val = {0.5: 68.0, 2.0: 66.0, 5.0: 67.0}
    records = plain({0.5: 75.0, 2.0: 71.0, 5.0: 72.0}, 3, val, select="held-out")
    made, by = rows([diverged(one) if one.spec.config["lam"] == 0.5 and one.spec.seed == 2 else one for one in records])
    assert {way: line["value"] for way, line in by.items()} == {"paper": 2, "validation": 5, "test": 5}
    assert any("runs diverged at λ = 0.5 (1 of 3); these values are not chosen" in note for note in made.notes)


def test_of_a_value_at_which_all_diverged_nothing_false_is_said():
    records = plain({0.5: 75.0, 2.0: 71.0}, 3, {0.5: 68.0, 2.0: 66.0}, select="held-out")
    lost = diverged(record("dfd", 10.0, 7, {"lam": 10.0}, select="held-out"))  # of a seed that the others have not
    made, by = rows([*records, lost])
    assert by["validation"]["value"] == 0.5
    assert not [note for note in made.notes if "not chosen by validation" in note or "share no seed" in note]


def rows(records):
    [made] = tuned.tables([FIG_2], frame(records), right)
    return made, {line["chosen"]: line for line in json.loads(render([made], "json"))}


def test_validation_chooses_and_the_test_only_scores():
    scores, val = {0.5: 70.0, 2.0: 71.0, 5.0: 72.0}, {0.5: 68.0, 2.0: 66.0, 5.0: 67.0}
    made, by = rows(plain(scores, 3, val, select="held-out") + baselines(60.0, 65.0, 3, select="held-out"))
    assert {way: line["value"] for way, line in by.items()} == {"paper": 2, "validation": 0.5, "test": 5}
    chosen = by["validation"]
    assert (chosen["top1_mean"], chosen["val_top1_mean"], chosen["n"]) == (71, 69, 3)
    assert (chosen["reference_gain"], chosen["control_gain"]) == (10, None)  # it is its control
    assert by["paper"]["reference_gain"] == 11 and by["test"]["reference_gain"] == 12
    assert "vs its control" not in made.shown and made.shown.iloc[0, -1].endswith("] (3)")
    assert list(made.shown[""]) == [f"ResNet-18, {way}" for way in ("the paper's", "by validation", "best by test (!)")]
    assert any(note.startswith("(!) What one must not do") for note in made.legend)
    assert "(!): chosen by the test score, which one must not do." in render([made], "latex").partition("tabular")[0]
    assert not any("not chosen by validation" in note for note in made.notes)
    other = {lam: 100 - top1 for lam, top1 in scores.items()}  # other test scores choose nothing else
    assert rows(plain(other, 3, val, select="held-out"))[1]["validation"]["value"] == 0.5


def test_each_choice_knows_its_runs():
    records = plain({0.5: 70.0, 2.0: 71.0}, 2)
    made, by = rows(records)
    assert list(made.runs["test"]) == [tuple(by[way]["runs"].split()) for way in ("paper", "validation", "test")]
    assert made.runs.shape == made.shown.shape and made.runs["test"][0] and not made.runs["test"][1]


def test_of_equal_validation_scores_the_smallest_value_is_chosen():
    val = {0.1: 60.0, 0.5: 68.0, 2.0: 68.0}
    _, by = rows(plain({0.1: 70.0, 0.5: 70.0, 2.0: 71.0}, val=val, select="held-out"))
    assert by["validation"]["value"] == 0.5


def test_values_are_compared_over_the_seeds_that_all_have():
    val = {0.5: 68.0, 2.0: 67.5}
    records = plain({0.5: 70.0}, 1, val, select="held-out") + plain({2.0: 70.0}, 3, val, select="held-out")
    _, by = rows(records)  # over its three seeds 2.0 has 68.5, over the common one 67.5
    assert by["validation"]["value"] == 0.5


def test_without_held_out_images_nothing_is_chosen_by_validation_and_a_note_says_so():
    made, by = rows(plain({0.5: 70.0, 2.0: 71.0}))
    assert (by["validation"]["value"], by["validation"]["top1_mean"]) == (None, None)
    assert any("not chosen by validation" in note for note in made.notes)
    assert any("not run at λ = 0.1, 0.2, 1, 5, 10" in note for note in made.notes)


def test_a_choice_is_compared_at_its_own_precision():
    """Of the LR-baseline fp32 was run first, and is what is drawn."""
    records = plain({0.5: 70.0, 2.0: 71.0}, 3, precision="bf16") + baselines(60.0, 65.0, 3)
    assert rows(records)[1]["paper"]["reference_gain"] == 11
    records += baselines(62.0, 66.0, 3, precision="bf16", finished="2026-02-01")
    made, by = rows(records)
    assert by["paper"]["reference_gain"] == 9 and "Precision: bf16." in made.notes
    [[found]] = sweep.sweeps(FIG_2, frame(records))
    assert set(found.others()[0]["precision"]) == {"fp32"}


def test_one_value_is_no_choice():
    [made] = tuned.tables([FIG_2], frame(plain({2.0: 70.0})), right)
    assert made.shown.empty and "two values" in made.notes[0]


@pytest.mark.parametrize("style", FORMATS)
def test_tuned_in_every_format(style):
    made, _ = rows(plain({0.5: 70.0, 2.0: 71.25}))
    assert "71.25" in render([made], style)


def test_a_lambda_of_zero_is_left_out_of_the_log_axis():
    [panel] = figure(plain({0.0: 60.0, 1.0: 70.0, 2.0: 71.0}), settings={}).axes
    assert panel.containers[0].lines[0].get_xdata().tolist() == [1, 2]
    [[found]] = sweep.sweeps(FIG_2, frame(plain({0.0: 60.0, 2.0: 71.0})))
    assert list(found.points) == [0, 2]
