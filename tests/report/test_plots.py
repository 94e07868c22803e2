"""Figures: a panel for each thing that was measured, a line for each row, a file that is whole or not there."""

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

from lrbench import demo
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


def drawn(store, **chosen):
    return figure_of_epochs.draw(frame(store), store, **chosen)


def names(figure):
    """Of the ways of training, below the panels, with their colours."""
    [legend] = figure.legends
    return {
        text.get_text(): line.get_color() for text, line in zip(legend.get_texts(), legend.get_lines(), strict=True)
    }


def keys(panel):
    return [text.get_text() for text in panel.get_legend().get_texts()] if panel.get_legend() else []


def of(panel, colour, dashed=None):
    """The heights of the line of a colour, dashed or not."""
    found = [
        line.get_ydata().tolist()
        for line in panel.lines
        if line.get_color() == colour and len(line.get_xdata()) > 1 and dashed in (None, line.is_dashed())
    ]
    assert len(found) == 1, found
    return found[0]


def test_curves_are_the_losses_the_scores_and_the_rate(store):
    for seed in (0, 1):
        put(store, 70.0 + 10 * seed, seed=seed, val=True, select="held-out")
    put(store, 90.0, "dfd", val=True, select="held-out")
    figure = drawn(store)
    loss, top1, rate = figure.axes
    assert [panel.get_title(loc="left") for panel in figure.axes] == [
        "terms of the training loss", "top-1 (%)", "learning rate"
    ]  # fmt: skip
    assert figure.get_suptitle().startswith("cifar10 8x8, resnet18: recipe paper, 3 epochs, batches of 128")
    colours = names(figure)
    assert sorted(colours) == ["DFD", "LR-baseline"] and len(set(colours.values())) == 2
    assert keys(top1) == ["validation", "training, augmented", "test, at the end"] and not keys(loss)
    assert of(top1, colours["LR-baseline"], dashed=True) == [73.0, 74.0, 75.0]  # the seeds' mean
    assert of(top1, colours["LR-baseline"], dashed=False) == [76.0, 77.0, 78.0]
    assert of(loss, colours["DFD"]) == [1.0, 1.0, 1.0]  # its only term
    heights = [
        band.get_paths()[0].get_extents().get_points()[:, 1].tolist()
        for band in top1.collections
        if len(band.get_paths()[0].vertices) > 2
    ]
    assert [68.0, 80.0] in heights and [88.0, 90.0] in heights  # and their range
    ends = {bars.lines[0].get_color(): bars.lines[0].get_xydata()[0].tolist() for bars in top1.containers}
    assert {colour: y for colour, (_, y) in ends.items()} == {colours["LR-baseline"]: 75.0, colours["DFD"]: 90.0}
    assert sorted(x for x, _ in ends.values()) == pytest.approx([3, 3.09])  # beside each other
    [line] = rate.lines  # both have the same
    assert line.get_xdata()[[0, -1]].tolist() == [0, 3] and line.get_ydata()[0] == 0.1
    assert line.get_ydata()[-1] == pytest.approx(0.001) and line.get_ydata()[110] == pytest.approx(0.01)


def test_by_default_the_published_rows_of_one_backbone_at_one_place_are_drawn(store):
    said = []
    put(store, 60.0), put(store, 65.0, "dfd"), put(store, 90.0, "hr-baseline")
    put(store, 66.0, "dfd", settings={"lam": 0.25}), put(store, 61.0, "kd")
    put(store, 70.0, scale=2), put(store, 50.0, degradation="area"), put(store, 40.0, backbone="alexnet")
    with warnings.catch_warnings(action="error"):
        figure = figure_of_epochs.draw(frame(store), store, said.append)
    assert sorted(names(figure)) == ["DFD", "HR-baseline", "LR-baseline"]
    assert figure.get_suptitle().startswith("cifar10 8x8, resnet18") and "area" not in figure.get_suptitle()
    assert len(said) == 1 and "cifar10 8x8, alexnet (1)" in said[0] and "--backbone choose" in said[0]
    assert sorted(names(drawn(store, methods=["dfd", "kd"]))) == ["DFD", "DFD lam=0.25", "KD"]
    assert drawn(store, backbones=["alexnet"]).get_suptitle().startswith("cifar10 8x8, alexnet")


def test_where_no_published_row_was_run_all_are_drawn(store):
    put(store, 60.0, "kd"), put(store, 61.0, "fitnets")
    assert sorted(names(drawn(store))) == ["FitNets", "KD"]


def test_losses_that_are_far_apart_are_drawn_on_a_log_axis(store):
    put(store, 60.0)
    assert drawn(store).axes[0].get_yscale() == "linear"
    far = put(store, 70.0, "dfd")
    rewritten = store.curve(far.id).replace("\n1,3,1,", "\n1,3,400,")
    assert rewritten != store.curve(far.id)
    store.save(far, rewritten, store.predictions(far.id), save_tensors({}))
    assert [axes.get_yscale() for axes in drawn(store).axes] == ["log", "linear", "linear"]


def test_each_term_of_a_loss_has_dashes_of_its_own(store):
    put(store, 60.0)
    two = put(store, 70.0, "dfd")
    lines = [f"{n},{n + 5},{n},5,50" if n > 1 else "1,6,1,,50" for n in range(1, EPOCHS + 1)]  # a stage without it
    text = "\n".join(["epoch,loss,recognition,distillation,train_top1", *lines]) + "\n"
    store.save(two, text, store.predictions(two.id), save_tensors({}))
    with warnings.catch_warnings(action="error"):
        figure = drawn(store)
    loss, *_ = figure.axes
    assert keys(loss) == ["recognition", "distillation"]
    colours = names(figure)
    assert of(loss, colours["DFD"], dashed=False) == [1, 2, 3] and of(loss, colours["LR-baseline"]) == [1, 1, 1]
    distillation = of(loss, colours["DFD"], dashed=True)
    assert distillation[1:] == [5, 5] and np.isnan(distillation[0])


def test_a_loss_that_was_never_a_number_is_drawn_without_a_word(store):
    put(store, 60.0)
    lost = put(store, 70.0, "dfd")
    text = re.sub(r"\n(\d),\d,\d", r"\n\1,nan,nan", store.curve(lost.id))
    store.save(diverged(lost), text, store.predictions(lost.id), save_tensors({}))
    with warnings.catch_warnings(action="error"):
        assert sorted(names(drawn(store))) == ["DFD, 1 of 1 diverged", "LR-baseline"]


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
    assert drawn(store, datasets=["svhn"]).get_suptitle().startswith("svhn 8x8")
    assert [*names(drawn(store, methods=["dfd"]))] == ["DFD"]


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
        drawn(store, datasets=datasets, methods=methods)


def test_an_empty_store_has_no_curves(tmp_path):
    with pytest.raises(UserError, match=r"no run in .*runs; start with 'lrbench run'"):
        drawn(Store(tmp_path / "runs"))


def test_a_run_that_is_only_tested_has_no_curve_and_stops_no_other(store):
    one = record("hr-direct", 30.0)
    store.save(one, "\n", {"predicted": np.zeros(3), "label": np.zeros(3)}, save_tensors({}))
    with pytest.raises(UserError, match="only tested"):
        drawn(store)
    put(store, 60.0)
    assert [*names(drawn(store))] == ["LR-baseline"]
    site = writer.write(store, store.root.parent / "site", store.root, print).parent
    assert one.id in (site / "runs.html").read_text() and (site / "runs" / one.id / "index.html").is_file()


def test_a_figure_says_how_many_of_its_runs_are_from_other_stores(store, tmp_path):
    other = Store(tmp_path / "theirs")
    other.root.mkdir()
    put(store, 60.0), put(other, 61.0, seed=1)
    both, said = Store(store.root, others=[other.root]), []
    figures.draw("curves", frame(both), both, store.root, said.append)
    assert said == [f"1 of 2 runs here came from {other.root}, not from your own results."]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fig22", {}, "did you mean 'fig2'?"),
        ("fig2", {"images": 4}, "fig2 takes no images; it takes datasets, settings, scale"),
        (
            "curves",
            {"settings": {"lam": 1}},
            "curves takes no settings; it takes datasets, methods, backbones, scale",
        ),
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
    return demo.picture(hr, lr, labels, {"DFD": labels, "LR-baseline": ["cat"] * n}, "resnet18, 3 epochs")


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
    (green, right), (red, wrong) = demo.RIGHT, demo.WRONG
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
