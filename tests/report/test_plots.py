"""Figures: a panel for each thing that was measured, a line for each row, a file that is whole or not there."""

import itertools
import os
import re
import subprocess
import sys
import warnings

import matplotlib
import numpy as np
import pytest
from helpers.cli import process
from helpers.records import LR, diverged, record
from matplotlib.image import imread
from safetensors.torch import save as save_tensors

from lrbench.errors import UserError
from lrbench.report import figure_of_epochs, figures, plots
from lrbench.report.frame import frame
from lrbench.report.site import writer
from lrbench.store.store import Store

EPOCHS = 3


def put(store, top1, method=LR, val=False, **changes):
    """A finished run in the store; the accuracies of its curve end at `top1`, its losses at 1."""
    one = record(method, top1, epochs=EPOCHS, **changes)
    names = ["epoch", "loss", "recognition", "train_top1", *(["val_top1"] if val else [])]
    rows = [[n, 1 + EPOCHS - n, 1, top1 - EPOCHS + n, *([top1 + n] if val else [])] for n in range(1, EPOCHS + 1)]
    curve = "\n".join(",".join(map(str, row)) for row in [names, *rows]) + "\n"
    return store.save(one, curve, {"predicted": np.zeros(3), "label": np.zeros(3)}, save_tensors({}))


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "runs")
    store.root.mkdir()
    return store


def drawn(store, *chosen):
    return figure_of_epochs.draw(frame(store), store, *chosen)


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]


def test_curves_have_a_panel_for_each_quantity_and_a_line_for_each_row(store):
    for seed in (0, 1):
        put(store, 70.0 + 10 * seed, seed=seed)
    put(store, 90.0, "dfd", settings={"lam": 0.25})
    figure = drawn(store)
    loss, top1 = figure.axes  # each has one term, which is its whole loss
    assert [axes.get_ylabel() for axes in figure.axes] == ["training loss", "top-1 on training images (%)"]
    assert {axes.get_xlabel() for axes in figure.axes} == {"epoch"}
    labels = [text.get_text() for text in top1.get_legend().get_texts()]
    assert sorted(labels) == ["DFD lam=0.25 (resnet18)", "LR-baseline (resnet18)"]
    of_row = {line.get_label(): line for line in top1.lines}
    assert set(of_row) == set(labels) == {line.get_label() for line in loss.lines}
    assert len({line.get_color() for line in top1.lines}) == 2
    assert of_row["LR-baseline (resnet18)"].get_xdata().tolist() == [1, 2, 3]
    assert of_row["LR-baseline (resnet18)"].get_ydata().tolist() == [73.0, 74.0, 75.0]  # the seeds' mean
    heights = [band.get_paths()[0].get_extents().get_points()[:, 1].tolist() for band in top1.collections]
    assert sorted(heights) == [[68.0, 80.0], [88.0, 90.0]]  # and their range
    assert titles(figure) == [loss.get_title(loc="left")]
    assert titles(figure)[0].startswith("cifar10 8x8\nrecipe paper, 3 epochs, batches of 128, all training")


def test_each_protocol_and_resolution_has_panels_of_its_own(store):
    put(store, 60.0)
    put(store, 70.0, scale=2)
    put(store, 50.0, degradation="area")
    put(store, 80.0, dataset="svhn", select="best-epoch", val=True)
    put(store, 90.0, "hr-baseline")
    with warnings.catch_warnings(action="error"):
        figure = drawn(store)
    assert [title.partition("\n")[0] for title in sorted(titles(figure))] == [
        "cifar10 16x16",
        "cifar10 8x8",
        "cifar10 8x8",
        "svhn 8x8",
    ]
    rows = {row.axes[0].get_title(loc="left"): row.axes for row in figure.subfigs}
    for title, (loss, *rest) in rows.items():
        assert [axes.get_ylabel() for axes in rest] == [
            "top-1 on training images (%)",
            *(["top-1, validation (%)"] if "held-out" in title else []),
        ]
        legend = rest[-1].get_legend()
        assert [text.get_text() for text in legend.get_texts()] == [line.get_label() for line in loss.lines]
        shown = {line.get_label() for line in loss.lines}
        assert ("HR-baseline (resnet18)" in shown) == title.startswith("cifar10")  # one HR run, in every column


def test_losses_that_are_far_apart_are_drawn_on_a_log_axis(store):
    put(store, 60.0)
    assert drawn(store).axes[0].get_yscale() == "linear"
    far = put(store, 70.0, "dfd")
    rewritten = store.curve(far.id).replace("\n1,3,", "\n1,400,")
    assert rewritten != store.curve(far.id)
    store.save(far, rewritten, store.predictions(far.id), save_tensors({}))
    assert [axes.get_yscale() for axes in drawn(store).axes] == ["log", "linear"]


def test_each_term_of_a_loss_has_a_panel_which_runs_of_that_term_alone_share(store):
    put(store, 60.0)
    two = put(store, 70.0, "dfd")
    lines = [f"{n},{n + 5},{n},5,50" if n > 1 else "1,6,1,,50" for n in range(1, EPOCHS + 1)]  # a stage without it
    text = "\n".join(["epoch,loss,recognition,distillation,train_top1", *lines]) + "\n"
    store.save(two, text, store.predictions(two.id), save_tensors({}))
    with warnings.catch_warnings(action="error"):
        panels = {axes.get_ylabel(): axes for axes in drawn(store).axes}
    assert list(panels) == [
        "training loss",
        "loss term: recognition",
        "loss term: distillation",
        "top-1 on training images (%)",
    ]
    recognition = {line.get_label(): line.get_ydata().tolist() for line in panels["loss term: recognition"].lines}
    assert recognition == {"DFD (resnet18)": [1, 2, 3], "LR-baseline (resnet18)": [1, 1, 1]}
    [distillation] = panels["loss term: distillation"].lines
    assert distillation.get_ydata()[1:].tolist() == [5, 5] and np.isnan(distillation.get_ydata()[0])


def test_a_loss_that_was_never_a_number_is_drawn_without_a_word(store):
    put(store, 60.0)
    lost = put(store, 70.0, "dfd")
    text = re.sub(r"\n(\d),\d,\d", r"\n\1,nan,nan", store.curve(lost.id))
    store.save(diverged(lost), text, store.predictions(lost.id), save_tensors({}))
    with warnings.catch_warnings(action="error"):
        loss, _ = drawn(store).axes
    assert {line.get_label() for line in loss.lines} == {
        "LR-baseline (resnet18)",
        "DFD (resnet18), 1 of 1 diverged",
    }


def test_no_two_lines_look_alike_even_without_colour():
    many = plots.looks(252)
    assert len(set(many)) == 252
    assert len({(look.dashes, look.marker) for look in many[:36]}) == 36  # in grey
    for one, other in itertools.pairwise(many):
        assert one.colour != other.colour and one.dashes != other.dashes and one.marker != other.marker


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
def test_an_equal_figure_gives_equal_bytes(store, tmp_path, suffix):
    put(store, 60.0)
    one, other = tmp_path / f"one.{suffix}", tmp_path / f"other.{suffix}"
    for path in (one, other):
        plots.save(drawn(store), path)
    assert one.read_bytes() == other.read_bytes()
    assert re.search(rb"<dc:date>|CreationDate", one.read_bytes()) is None


def test_one_dataset_or_method_can_be_drawn_alone(store):
    for dataset in ("cifar10", "svhn"):
        put(store, 60.0, dataset=dataset)
        put(store, 70.0, "dfd", dataset=dataset)
    assert [title.partition("\n")[0] for title in titles(drawn(store, ["svhn"]))] == ["svhn 8x8"]
    legends = [axes.get_legend() for axes in drawn(store, [], ["dfd"]).axes if axes.get_legend()]
    assert {text.get_text() for legend in legends for text in legend.get_texts()} == {"DFD (resnet18)"}


@pytest.mark.parametrize(
    ("datasets", "methods", "message"),
    [
        (["svhm"], [], "no run of dataset 'svhm'; did you mean 'svhn'?"),
        ([], ["dfdd"], "no run of method 'dfdd'; did you mean 'dfd'?"),
        (["svhn"], ["dfd"], "no run of dataset svhn, method dfd in"),
    ],
)
def test_curves_of_what_was_not_run(store, datasets, methods, message):
    put(store, 60.0, dataset="svhn")
    put(store, 60.0, "dfd")
    with pytest.raises(UserError, match=re.escape(message)):
        drawn(store, datasets, methods)


def test_an_empty_store_has_no_curves(tmp_path):
    with pytest.raises(UserError, match=r"no run in .*runs; start with 'lrbench run'"):
        drawn(Store(tmp_path / "runs"))


def test_a_run_that_is_only_tested_has_no_curve_and_stops_no_other(store):
    one = record("hr-direct", 30.0)
    store.save(one, "\n", {"predicted": np.zeros(3), "label": np.zeros(3)}, save_tensors({}))
    with pytest.raises(UserError, match="only tested"):
        drawn(store)
    put(store, 60.0)
    assert [line.get_label() for line in drawn(store).axes[0].lines] == ["LR-baseline (resnet18)"]
    site = writer.write(store, store.root.parent / "site", store.root, print).parent
    assert one.id in (site / "runs.html").read_text() and (site / "runs" / one.id / "index.html").is_file()


def test_a_figure_says_how_many_of_its_runs_are_from_other_stores(store, tmp_path):
    other = Store(tmp_path / "theirs")
    other.root.mkdir()
    put(store, 60.0), put(other, 61.0, seed=1)
    both, said = Store(store.root, others=[other.root]), []
    figures.draw("curves", frame(both), both, store.root, said.append)
    assert said == [f"1 of these 2 runs are from {other.root}, which is read beside your own runs."]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fig22", {}, "did you mean 'fig2'?"),
        ("fig2", {"images": 4}, "fig2 has no option images; it has datasets, settings, scale"),
        ("curves", {"settings": {"lam": 1}}, "curves has no option settings; it has datasets, methods"),
        ("fig3", {"datasets": ("digits", "svhn")}, "one dataset; name one"),
    ],
)
def test_a_figure_or_an_option_that_there_is_not_is_named(name, options, message, store):
    put(store, 60.0)
    with pytest.raises(UserError, match=re.escape(message)):
        figures.draw(name, frame(store), store, store.root, print, **options)


def figure_of_pairs(n=4):
    hr, lr = np.zeros((n, 8, 8, 3), np.uint8), np.full((n, 2, 2, 3), 200, np.uint8)
    labels = ["cat", "dog", "cat", "owl"][:n]
    return plots.predictions(hr, lr, labels, {"DFD": labels, "LR-baseline": ["cat"] * n})


@pytest.mark.parametrize("n", [1, 4])
def test_predictions_show_each_pair_and_what_was_seen_in_it(n):
    figure = figure_of_pairs(n)
    assert len(figure.axes) == 2 * n
    above, below = figure.axes[:n], figure.axes[n:]
    assert [axes.get_title() for axes in above] == ["true cat", "true dog", "true cat", "true owl"][:n]
    assert (above[0].get_ylabel(), below[0].get_ylabel()) == ("HR 8x8", "LR 2x2")
    for axes, side in [(above[0], 8), (below[-1], 2)]:
        [image] = axes.images
        assert image.get_array().shape == (side, side, 3) and image.get_interpolation() == "nearest"
    words = [[(text.get_text(), text.get_color()) for text in axes.texts] for axes in below]
    (green, right), (red, wrong) = plots.RIGHT, plots.WRONG
    cat, hit, miss = (f"cat {right}", green), (f"{{}} {right}", green), (f"cat {wrong}", red)
    dog, owl = ((hit[0].format(animal), green) for animal in ("dog", "owl"))
    seen = [[cat] * 2, [dog, miss], [cat] * 2, [owl, miss]]
    assert [one[:2] for one in words] == seen[:n]
    assert [text for text, _ in words[0][2:]] == ["DFD", "LR-baseline"]  # the lines' names, beside the first pair


@pytest.mark.parametrize("suffix, start", [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_saved_in_the_format_of_the_suffix(tmp_path, suffix, start):
    path = tmp_path / "deep" / f"figure.{suffix}"
    plots.save(figure_of_pairs(1), path)
    assert path.read_bytes().startswith(start) and os.listdir(path.parent) == [path.name]
    if suffix == "png":
        assert imread(path).std() > 0.1  # not a blank page


@pytest.mark.parametrize("name", ["figure.jpg", "figure", "figure.PNG.txt"])
def test_another_suffix_is_refused_before_anything_is_written(tmp_path, name):
    with pytest.raises(UserError, match=rf"ends in one of .png, .pdf, .svg; got '{name}'"):
        plots.save(figure_of_pairs(1), tmp_path / "deep" / name)
    assert not list(tmp_path.iterdir())


def test_a_figure_is_saved_whole_or_not_at_all(tmp_path, monkeypatch):
    def full(handle):
        raise OSError("full disk")

    def broken(out, **_):
        out.write(b"half a figure")
        raise ValueError("drawing failed")

    figure, path = figure_of_pairs(1), tmp_path / "figure.png"
    path.write_text("the one before")
    for place, name, fault in [(os, "fsync", full), (figure, "savefig", broken)]:
        with monkeypatch.context() as patch, pytest.raises((OSError, ValueError), match=r"full disk|drawing failed"):
            patch.setattr(place, name, fault)
            plots.save(figure, path)
        assert os.listdir(tmp_path) == ["figure.png"] and path.read_text() == "the one before"


STYLES = ["text.usetex: True", "font.family: monospace\nfont.size: 30", "figure.figsize: 1, 1\nsavefig.dpi: 7",
          "svg.fonttype: none\naxes.grid: True\nlines.linewidth: 9\nsavefig.transparent: True"]  # fmt: skip


@pytest.mark.parametrize("style", STYLES)
def test_a_figure_does_not_depend_on_the_users_style(style, store, tmp_path):
    put(store, 70.0)
    results = frame(store)
    wanted = figures.draw("curves", results, store, tmp_path, print)
    plots.save(wanted, tmp_path / "plain.svg")
    (tmp_path / "matplotlibrc").write_text(style)
    with matplotlib.rc_context(fname=tmp_path / "matplotlibrc"):
        before = dict(matplotlib.rcParams)
        found = figures.draw("curves", results, store, tmp_path, print)
        plots.save(found, tmp_path / "styled.svg")
        assert found._repr_png_() and dict(matplotlib.rcParams) == before, "the user's own figures keep it"
    assert (tmp_path / "styled.svg").read_bytes() == (tmp_path / "plain.svg").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["module://matplotlib_inline.nowhere", "no-such-backend"])
@pytest.mark.parametrize("command", ["plot curves", "report", "reproduce smoke --dry-run", "table"])
def test_the_backend_of_a_notebook_is_no_concern_of_a_command(command, backend, store, tmp_path):
    put(store, 70.0)
    done = process(*command.split(), "--results", "runs", env={"MPLBACKEND": backend}, cwd=tmp_path)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", ["plot curves", "report", "reproduce smoke --dry-run"])
def test_a_matplotlibrc_that_is_no_text_is_named(command, store, tmp_path):
    put(store, 70.0)
    (tmp_path / "rc").write_text("# größer", encoding="latin-1")
    where = {"env": {"MATPLOTLIBRC": str(tmp_path / "rc")}, "cwd": tmp_path}
    done = process(*command.split(), "--results", "runs", **where)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("lrbench: matplotlib does not start: ") and str(tmp_path / "rc") in done.stderr
    (tmp_path / "rc").write_text("backend: no-such-backend\nno.such: key")
    done = process(*command.split(), "--results", "runs", **where)
    assert done.returncode == 0 and "no.such" not in done.stderr


@pytest.mark.slow
def test_a_matplotlibrc_that_is_no_text_is_named_in_a_notebook(store, tmp_path):
    put(store, 70.0)
    (tmp_path / "matplotlibrc").write_text("# größer", encoding="latin-1")
    call = (
        "import lrbench as lr\nfrom lrbench.errors import UserError\n"
        "try: lr.plot('curves', results='runs')\nexcept UserError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", call], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("matplotlib does not start: ") and "matplotlibrc" in done.stdout, done.stderr
