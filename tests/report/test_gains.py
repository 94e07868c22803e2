"""The figure of gains: what it draws is what the leaderboard says."""

import numpy as np
import pytest
from helpers.records import LR, net, record
from safetensors.torch import save as save_tensors

from lrbench.errors import UserError
from lrbench.method import naming
from lrbench.report import figures, leaderboard
from lrbench.report.frame import defaults, frame, tables
from lrbench.store.store import Store

IMAGES = 400
LABELS = np.random.default_rng(5).integers(10, size=IMAGES)


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "runs")
    store.root.mkdir()
    return store


def put(store, method, accuracy, settings=None, status="done", seeds=3, **changes):
    """Runs of three seeds that nobody trained, right on about so many images."""
    for seed in range(seeds):
        one = record(method, 0.0, seed, {"init": "scratch"} | (settings or {}), **changes)
        draw = np.random.default_rng([seed, int(one.id, 16) % 2**32])
        predicted = np.where(draw.random(IMAGES) < accuracy, LABELS, (LABELS + 1) % 10)
        top1 = 100 * float((predicted == LABELS).mean())
        facts = one.data.model_copy(update={"test_images": IMAGES})
        update = {
            "metrics": one.metrics | {"top1": top1},
            "data": facts,
            "about": naming.about(method),
            "status": status,
        }
        store.save(
            one.model_copy(update=update),
            "epoch,loss\n1,2\n",
            {"predicted": predicted, "label": LABELS},
            save_tensors({}),
        )


def drawn(store, **options):
    notes = []
    return figures.draw("gains", frame(store), store, store.root, notes.append, **options), notes


def points(axes):
    """Label -> where its point stands."""
    labels = [text.get_text() for text in axes.get_yticklabels()]
    marks = [line for line in axes.lines if line.get_marker() in ("o", "s", "<", ">")]
    return {labels[int(line.get_ydata()[0])]: (float(line.get_xdata()[0]), line.get_marker()) for line in marks}


def test_each_way_stands_at_its_gain_with_the_leaderboards_interval(store):
    put(store, LR, 0.6)
    put(store, "dfd", 0.75)
    figure, notes = drawn(store)
    [axes] = figure.axes
    [table] = tables(frame(store))
    board = leaderboard.board(table, store.right, [LR], defaults(frame(store))).set_index("method")
    dfd = board.loc["dfd"]
    assert points(axes) == {"DFD": (pytest.approx(dfd["control_gain"]), "o")}
    interval = [
        list(line.get_xdata()) for line in axes.lines if line.get_marker() == "None" and len(line.get_xdata()) == 2
    ]
    assert [dfd["control_low"], dfd["control_high"]] in [pytest.approx(one) for one in interval]
    assert axes.get_title() == f"{table['dataset'].iloc[0]}\n{table['size'].iloc[0]}"
    assert notes == []


def test_what_sees_the_images_of_an_sr_net_is_a_square(store):
    for method, accuracy in ((LR, 0.6), ("dfd", 0.7), ("vdsr", 0.65)):
        put(store, method, accuracy)
    for seed in range(3):
        classifier = record("vdsr", seed=seed, settings={"init": "scratch"})
        spec, metrics = classifier.spec.needs["restorer"], {"psnr": 25.0, "epochs_in_weights": 12}
        restorer = classifier.model_copy(update={"id": spec.id, "spec": spec, "metrics": metrics})
        store.save(restorer, "epoch,loss\n1,2\n", {"psnr": np.full(IMAGES, 25.0)}, save_tensors({}))
    [axes] = drawn(store)[0].axes
    assert {name: marker for name, (_, marker) in points(axes).items()} == {"DFD": "o", "VDSR": "s"}


def test_of_fewer_than_three_seeds_no_interval_is_drawn(store):
    put(store, LR, 0.6)
    put(store, "dfd", 0.75)
    put(store, "kd", 0.7, seeds=2)
    [axes] = drawn(store)[0].axes
    height = {text.get_text(): place for place, text in enumerate(axes.get_yticklabels())}
    bars = [line.get_ydata()[0] for line in axes.lines if line.get_marker() == "None" and line.get_linewidth() == 1.4]
    assert set(points(axes)) == {"DFD", "KD"} and bars == [height["DFD"]]


def test_seeds_that_the_control_lacks_draw_no_interval(store):
    put(store, LR, 0.6, seeds=1)
    put(store, "dfd", 0.75)
    [axes] = drawn(store)[0].axes
    bars = [line for line in axes.lines if line.get_marker() == "None" and line.get_linewidth() == 1.4]
    assert set(points(axes)) == {"DFD"} and not bars


def test_a_place_is_a_panel_and_the_best_on_average_stands_on_top(store):
    for scale in (4, 2):
        put(store, LR, 0.6, scale=scale)
        put(store, "dfd", 0.65, scale=scale)
        put(store, "kd", 0.5, scale=scale)
    figure, _ = drawn(store)
    assert len(figure.axes) == 2
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["KD", "DFD"]


def test_a_gain_far_beyond_the_others_is_a_number_at_the_edge(store):
    put(store, LR, 0.6)
    for lam in (0.5, 1.0, 2.0):
        put(store, "dfd", 0.62, {"lam": lam})
    put(store, "kd", 0.05)
    figure, _ = drawn(store)
    [axes] = figure.axes
    place, marker = points(axes)["KD"]
    assert marker == "<" and -54 < place < 0
    [said] = [text.get_text().strip() for text in axes.texts]
    assert -60 < float(said) < -50


def test_of_several_backbones_the_one_that_most_was_run_on_is_drawn_and_the_others_are_named(store):
    for backbone, methods in (("resnet18", (LR, "dfd", "kd")), ("alexnet", (LR, "dfd"))):
        for method in methods:
            put(store, method, 0.6, backbone=backbone)
    figure, notes = drawn(store)
    assert set(points(figure.axes[0])) == {"DFD", "KD"}
    [note] = notes
    assert note.startswith("gains: not drawn: 1 of alexnet x1; --backbone and --dataset choose")
    figure, notes = drawn(store, backbones=["alexnet"])
    assert set(points(figure.axes[0])) == {"DFD"} and not notes


def test_a_setting_chooses_among_the_runs_of_methods_that_have_it(store):
    put(store, LR, 0.6)
    put(store, "kd", 0.5)
    for lam in (0.5, 2.0):
        put(store, "dfd", 0.65, {"lam": lam})
    for wanted, left in ((2, {"DFD", "KD"}), (0.5, {"DFD lam=0.5", "KD"})):  # 2 is dfd's default
        figure, _ = drawn(store, settings={"lam": wanted})
        assert set(points(figure.axes[0])) == left
    for wanted, said in (({"lam": 3}, "no run with lam=3; choose from 0.5, 2.0"), ({"lan": 2}, "did you mean 'lam'?")):
        with pytest.raises(UserError) as caught:
            drawn(store, settings=wanted)
        assert said in str(caught.value)


def test_methods_can_be_chosen(store):
    put(store, LR, 0.6)
    put(store, "dfd", 0.65)
    put(store, "kd", 0.5)
    figure, _ = drawn(store, methods=["dfd"])
    assert set(points(figure.axes[0])) == {"DFD"}


def test_without_a_control_there_is_nothing_to_draw(store):
    put(store, "dfd", 0.6)
    with pytest.raises(
        UserError, match="no gain: of no run there is a control of equal budget, which is a run of lr-base"
    ):
        drawn(store)


def test_of_chosen_methods_the_intervals_are_the_leaderboards(store):
    put(store, LR, 0.6)
    put(store, "dfd", 0.65)
    put(store, "kd", 0.7)
    every, one = (drawn(store, methods=methods)[0].axes[0] for methods in ([], ["dfd"]))

    def interval(axes):
        labels = [text.get_text() for text in axes.get_yticklabels()]
        y = labels.index("DFD")
        return [list(line.get_xdata()) for line in axes.lines if list(line.get_ydata()) == [y, y]]

    assert interval(every) == interval(one) and len(interval(one)) == 1


def test_a_method_that_was_not_run_is_named(store):
    put(store, LR, 0.6)
    put(store, "dfd", 0.65)
    with pytest.raises(UserError, match="there is no run of method 'dfk'; did you mean 'dfd'"):
        drawn(store, methods=["dfk"])


def test_two_contents_of_one_dataset_are_two_panels(store):
    for fingerprint in ({"train": "1", "test": "2"}, {"train": "3", "test": "4"}):
        for method, accuracy in ((LR, 0.6), ("dfd", 0.65)):
            put(store, method, accuracy, spec={"fingerprint": fingerprint})
    assert len(drawn(store)[0].axes) == 2


def test_the_newest_protocol_is_drawn_whatever_was_run_more_often(store):
    for method in (LR, "dfd", "kd"):
        put(store, method, 0.6, spec={"protocol": 1})
    for method in (LR, "dfd"):
        put(store, method, 0.6)
    assert set(points(drawn(store)[0].axes[0])) == {"DFD"}


def test_ones_own_methods_are_bold_beside_those_of_other_stores(store, tmp_path):
    put(store, LR, 0.6)
    put(store, "dfd", 0.65)
    mine = Store(tmp_path / "mine", others=(store.root,))
    mine.root.mkdir()
    put(mine, "kd", 0.7)
    axes = drawn(mine)[0].axes[0]
    assert {text.get_text(): text.get_fontweight() for text in axes.get_yticklabels()} == {
        "DFD": "normal",
        "KD": "bold",
    }
    assert {text.get_fontweight() for text in drawn(store)[0].axes[0].get_yticklabels()} == {"normal"}


def test_a_way_of_which_every_seed_diverged_stands_below(store):
    put(store, LR, 0.6)
    put(store, "kd", 0.7)
    put(store, "dfd", 0.1, status="diverged")
    figure, notes = drawn(store)
    [axes] = figure.axes
    assert set(points(axes)) == {"KD"} and not notes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["DFD", "KD"]
    assert [text.get_text() for text in axes.texts] == ["3 diverged"]


def test_of_sr_nets_alone_there_is_nothing_to_draw(store):
    store.save(net(), "epoch,loss\n1,2\n", {"psnr": np.ones(3)}, save_tensors({}))
    with pytest.raises(UserError, match="no gain: no classifier was run"):
        drawn(store)
