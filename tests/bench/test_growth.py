"""`lrbench bench --growth`: what is measured, how growth is judged, what is drawn. Nothing here is timed."""

from __future__ import annotations

import csv
import math
import sys
import time
from dataclasses import replace

import pytest

from lrbench import cli
from lrbench.bench import growth, growth_report, machine, timing
from lrbench.bench.growth import Curve, Point
from lrbench.store.store import Store
from lrbench.train.training import Training

REQUEST = timing.Request(
    methods=("lr-baseline",), widths=(0.125,), images=16, batch=8, device="cpu", precision="fp32", threads=1, workers=0
)


def curve(power, fixed=0.0, x=(1, 10, 100, 1_000)) -> Curve:
    return Curve("images", "time, s", tuple(map(float, x)), tuple(fixed + n**power for n in x))


@pytest.mark.parametrize(("power", "steep"), [(0.0, False), (0.5, False), (1.0, False), (1.3, True), (2.0, True)])
def test_what_grows_faster_than_linearly_is_flagged(power, steep):
    assert curve(power).exponent == pytest.approx(power)
    assert curve(power).steep is steep


def test_a_fixed_cost_does_not_hide_how_cost_grows():
    assert curve(2.0, fixed=50.0, x=(1, 2, 4, 8, 100, 1_000, 10_000)).steep
    assert not curve(1.0, fixed=50.0).steep


def test_a_cost_of_nothing_has_no_exponent():
    flat = Curve("images", "time, s", (1.0, 2.0), (0.0, 1.0))
    assert math.isnan(flat.exponent) and not flat.steep


def test_points_are_sorted_into_curves():
    points = [Point("a", 2, "s", 5), Point("a", 2, "MiB", 7), Point("b", 1, "s", 1), Point("a", 1, "s", 3)]
    assert growth.curves(points) == [
        Curve("a", "s", (1, 2), (3, 5)), Curve("a", "MiB", (2,), (7,)), Curve("b", "s", (1,), (1,)),
    ]  # fmt: skip


def test_a_filled_store_is_a_store(tmp_path):
    job = timing.cases(REQUEST)[0]
    specs = list(growth.fill(Store(tmp_path / "runs", pytest.fail), job, 5))
    records = Store(tmp_path / "runs", pytest.fail).records()
    assert {record.spec for record in records} == set(specs) and len(records) == 5


@pytest.fixture
def small(monkeypatch):
    """Few and small points, in this process."""
    monkeypatch.setattr(growth, "_apart", lambda task, *arguments: task(*arguments))
    axes = {"IMAGES": (16, 32), "WIDTHS": (0.125, 0.25), "BATCHES": (8, 16), "TOGETHER": (1, 3), "RECORDS": (2, 4)}
    for axis, values in axes.items():
        monkeypatch.setattr(growth, axis, values)


def test_every_axis_is_measured(small):
    notes = []
    found = growth.curves(growth.measure(REQUEST, 2, notes.append))
    assert {one.axis: one.x for one in found} == {
        "training images": (16, 32), "width": (0.125, 0.25), "batch size": (8, 16), "runs side by side": (1, 3),
        "records in the store": (2, 4),
    }  # fmt: skip
    assert len(notes) == 10 and all(y > 0 for one in found for y in one.y)


def test_runs_side_by_side_are_timed_without_the_learning_curve(small, monkeypatch):
    monkeypatch.setattr(Training, "_log", lambda *_: time.sleep(0.3))
    costs = growth._together(2, 1, timing.cases(REQUEST)[0])
    assert costs["an epoch of all, s"] < 0.3 and costs["the same one after the other, s"] < 0.3


def test_a_timm_model_has_one_width():
    assert growth._widens(REQUEST)
    assert not growth._widens(replace(REQUEST, backbones=("timm:resnet10t",), widths=(1.0,)))


def test_the_table_and_the_plot_mark_what_is_steep():
    curves = [curve(1.0), Curve("images", "memory, MiB", (1.0, 10.0, 100.0), (1.0, 100.0, 10_000.0))]
    table = growth_report.sheet(curves, "a title", machine.describe("cpu", 1))
    assert [line[-1] for line in table.lines] == ["", growth_report.MARK]
    assert [line[-2] for line in table.lines] == ["1.00", "2.00"]
    (panel,) = growth_report.draw(curves, "a title").axes
    labels = [text.get_text() for text in panel.get_legend().get_texts()]
    assert labels == ["time, s (x^1.00)", "memory, MiB (x^2.00, steeper than linear)"]
    assert (panel.get_xscale(), panel.get_yscale()) == ("log", "log")


def test_the_command_writes_table_and_plots(small, monkeypatch, capsys, tmp_path):
    words = ["lrbench", "bench", "--growth", str(tmp_path / "out"), "--method=lr-baseline", "--width=0.125"]
    words += ["--images=16", "--batch=8", "--device=cpu", "--precision=fp32", "--threads=1"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as exit:
        cli.main()
    out = capsys.readouterr().out
    assert exit.value.code == 0 and "records in the store" in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["growth.csv", "growth.png", "growth.svg"]
    rows = list(csv.DictReader((tmp_path / "out" / "growth.csv").open()))
    axes = {"training images", "width", "batch size", "runs side by side", "records in the store"}
    assert {row["against"] for row in rows} == axes
    assert all(float(row["y"]) > 0 and row["cpu"] for row in rows)


def test_json_of_growth_is_refused(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["lrbench", "bench", "--growth", str(tmp_path / "out"), "--json"])
    with pytest.raises(SystemExit) as exit:
        cli.main()
    assert exit.value.code == 2 and "growth.csv" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--backbone", "alexnet", "--backbone", "vgg16"], "one --backbone"),
        (["--width", "1", "--width", "0.5"], "one --width"),
        (["--dataset", "digits"], "leave --dataset out"),
    ],
)
def test_growth_is_about_one_case_of_noise(words, said, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["lrbench", "bench", "--growth", str(tmp_path / "out"), "--scale", "2", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2 and said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
