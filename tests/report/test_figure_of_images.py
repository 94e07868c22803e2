"""Restored images side by side, as Fig. 3 has them: which runs, which images, and what stands below each."""

import numpy as np
import pytest
from helpers import tiny
from helpers.records import net
from matplotlib.image import imread
from safetensors.torch import save as save_tensors

from lrbench.data import datasets
from lrbench.data.degradation import DEGRADATIONS
from lrbench.data.importing import import_dataset
from lrbench.errors import UserError
from lrbench.plan.plan import plan
from lrbench.report import figure_of_epochs, figure_of_images, figures, plots, published
from lrbench.report.frame import frame
from lrbench.spec.record import DataFacts, Record
from lrbench.store.store import Store

FIG_3 = published.figure("fig3")
NETS = tuple(FIG_3.nets.values())
SHOWN = 5  # restored images that are kept with a record here
CURVE = "epoch,loss,mse,train_psnr\n1,3,3,20\n2,2,2,21\n3,1,1,22\n"


def trained(method="sr-espcn", train_psnr=25.0, **changes):
    """An SR net's run that nobody trained."""
    one = net(method, **changes)
    return one.model_copy(update={"metrics": one.metrics | {"train_psnr": train_psnr}})


def chosen(records, sr_scale=None, dataset=None):
    return list(figure_of_images.choose(frame(records), NETS, sr_scale, dataset)["id"])


def test_the_figure_is_the_papers():
    assert list(FIG_3.nets.items()) == [("ESPCN", "sr-espcn"), ("VDSR", "sr-vdsr"), ("SRGAN", "sr-srgan")]


def test_the_nets_are_in_the_papers_order_and_others_are_left_out():
    methods = ("sr-srgan", "sr-srresnet", "sr-vdsr", "sr-espcn")
    records = {method: trained(method) for method in methods}
    assert chosen(list(records.values())) == [records[method].id for method in NETS]


@pytest.mark.parametrize(
    "other",
    [
        {"settings": {"sr_scale": 4}},
        {"degradation": "area"},
        {"dataset": "svhn"},
        {"limit_test": 1000},
        {"scale": 2},
        {"spec": {"fingerprint": {"train": "1a", "test": "changed"}}},
    ],
    ids=lambda other: next(iter(other)),
)
def test_of_several_tests_the_one_that_most_nets_were_put_to_is_drawn(other):
    few, most = [trained("sr-espcn", 99.0)], [trained(method, **other) for method in ("sr-vdsr", "sr-espcn")]
    for records in (few + most, most + few):
        assert chosen(records) == [most[1].id, most[0].id]


def test_another_sr_scale_can_be_asked_for():
    two = [trained(method) for method in ("sr-espcn", "sr-vdsr")]
    four = trained("sr-vdsr", settings={"sr_scale": 4})
    assert chosen([*two, four], 4) == [four.id]
    assert chosen([*two, four], 2) == chosen([*two, four]) == [one.id for one in two]


@pytest.mark.parametrize(
    ("plainer", "other"),
    [
        ({}, {"settings": {"lr": 0.5}}),
        ({}, {"limit_train": 1000}),
        ({"settings": {"sr_pairs": "all"}, "limit_train": 1000}, {"limit_train": 1000}),
        ({}, {"epochs": 3}),
        ({"seed": 1}, {"seed": 2}),
    ],
    ids=str,
)
def test_of_several_runs_of_a_net_the_plainest_is_drawn_however_well_it_restores(plainer, other):
    wanted, better = trained(**plainer), trained(train_psnr=99.0, psnr=99.0, **other)
    for records in ([wanted, better], [better, wanted]):
        assert chosen(records) == [wanted.id]


def test_of_equal_tests_the_default_degradation_then_the_most_images_are_drawn():
    default, area, small = trained(), trained(degradation="area"), trained(limit_test=100)
    assert chosen([area, small, default]) == chosen([default, small, area]) == [default.id]
    assert chosen([area, small]) == [small.id]


@pytest.mark.parametrize("records", [[], [trained("sr-srresnet")]], ids=["empty", "another net"])
def test_where_there_is_nothing_to_draw_it_is_said(records):
    with pytest.raises(UserError, match="no run of sr-espcn, sr-vdsr, sr-srgan to draw; start with 'lrbench run'"):
        chosen(records)


def test_of_equal_tests_the_first_by_name_is_drawn_unless_another_is_asked_for():
    records = [trained(dataset=dataset) for dataset in ("svhn", "cifar10", "digits")]
    for order in (records, records[::-1]):
        assert chosen(order) == [records[1].id]
        assert chosen(order, dataset="svhn") == [records[0].id]
    with pytest.raises(UserError, match=r"--dataset svhm: .*; did you mean 'svhn'"):
        chosen(records, dataset="svhm")


def test_a_dataset_and_an_sr_scale_that_were_not_run_together_are_refused():
    records = [trained(dataset="svhn"), trained(dataset="digits", settings={"sr_scale": 4})]
    with pytest.raises(UserError, match=r"--sr-scale 4: there is no such run to draw; .*2"):
        chosen(records, 4, "svhn")


def test_an_sr_scale_that_was_not_run_is_refused_with_those_that_were():
    with pytest.raises(UserError, match="2, 4") as caught:
        chosen([trained(), trained(settings={"sr_scale": 4})], 3)
    assert "\n" not in str(caught.value)


# --- with images ----------------------------------------------------------------------------------------


class Toys:
    """A store with SR nets on an imported dataset, 4x4 to 8x8 pixels, that restore noise."""

    def __init__(self, folder):
        draw = np.random.default_rng(0)
        images, labels = draw.integers(0, 256, (42, 16, 16, 3), dtype=np.uint8), np.arange(42) % 3
        arrays = {"train_images": images[:30], "train_labels": labels[:30]}
        np.savez(folder / "toys.npz", **arrays, test_images=images[30:], test_labels=labels[30:])
        self.data, self.store = folder / "data", Store(folder / "runs")
        self.info = import_dataset("toys", folder / "toys.npz", self.data)
        self.store.root.mkdir()
        self.restored = {}

    def put(self, method, seed=0, count=SHOWN, curve=CURVE, settings=None, **changes):
        """A finished run, whose restored images are noise."""
        spec = plan(method, settings or {}, tiny.protocol(data=self.info, seed=seed, degradation="area", **changes))
        facts = DataFacts(classes=self.info.classes, side=16, train_images=30, val_images=0, test_images=12)
        metrics = {"psnr": 20.0, "train_psnr": 22.0 + seed, "epochs": 3, "epochs_in_weights": 3}
        one = Record(id=spec.id, spec=spec, metrics=metrics, data=facts, env={}, method_source=None, files={})
        restored = np.random.default_rng(len(self.restored)).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
        self.restored[method] = restored
        return self.store.save(one, curve, {"restored": restored, "psnr": np.zeros(12)}, save_tensors({}))

    def columns(self):
        return figure_of_images.columns(
            figure_of_images.choose(frame(self.store), NETS), FIG_3.nets, self.store, self.data
        )


@pytest.fixture
def toys(tmp_path):
    return Toys(tmp_path)


def psnr(one, other):
    """In dB, image by image, in numpy."""
    error = (one.astype(float) - other.astype(float)) ** 2
    return 10 * np.log10(255**2 / error.mean(axis=(1, 2, 3)))


def test_the_columns_are_lr_bicubic_the_nets_and_hr(toys):
    for method in ("sr-srgan", "sr-vdsr", "sr-espcn"):
        toys.put(method)
    lr, plain, *nets, hr = toys.columns()
    assert [one.label for one in (lr, plain, *nets, hr)] == ["LR", "bicubic", "ESPCN", "VDSR", "SRGAN", "HR"]
    images, protocol = datasets.load("toys", toys.data).splits["test"].images[:SHOWN], DEGRADATIONS["area"]
    assert np.array_equal(lr.images, protocol.down(images, 4))
    assert np.array_equal(plain.images, protocol.up(protocol.down(images, 4), 8))
    assert np.array_equal(hr.images, protocol.down(images, 8))
    for method, column in zip(NETS, nets, strict=True):
        assert np.array_equal(column.images, toys.restored[method])


def test_psnr_is_that_of_each_image(toys):
    toys.put("sr-espcn")
    lr, plain, espcn, hr = toys.columns()
    assert lr.psnr is hr.psnr is None
    for column in (plain, espcn):
        assert len(column.psnr) == SHOWN
        assert column.psnr == pytest.approx(psnr(column.images, hr.images))


def test_no_more_images_are_shown_than_every_net_kept(toys):
    toys.put("sr-espcn", count=3)
    toys.put("sr-vdsr", count=5)
    assert {len(column.images) for column in toys.columns()} == {3}
    assert np.array_equal(toys.columns()[3].images, toys.restored["sr-vdsr"][:3])


def test_a_subset_of_the_test_images_is_shown_as_it_was_restored(toys):
    toys.put("sr-espcn", limit_test=6)
    subset = datasets.load("toys", toys.data).splits["test"]
    firsts = sorted(row for label in range(3) for row in np.flatnonzero(subset.labels == label)[:2])
    assert np.array_equal(toys.columns()[-1].images, DEGRADATIONS["area"].down(subset.images[firsts], 8)[:SHOWN])


def test_a_run_without_restored_images_is_named(toys):
    toys.put("sr-espcn")
    lacking = toys.put("sr-vdsr")
    toys.store.save(lacking, CURVE, {"psnr": np.zeros(12)}, save_tensors({}))
    with pytest.raises(UserError, match=f"{lacking.id} .* no restored image"):
        toys.columns()


def test_images_that_have_gone_are_asked_for(toys):
    toys.put("sr-espcn")
    (toys.data / "toys.npz").unlink()
    with pytest.raises(UserError, match="toys"):
        toys.columns()


@pytest.mark.parametrize("rows", [1, 3, 16])
def test_there_is_a_panel_for_each_image(rows, toys):
    toys.put("sr-espcn")
    shown = toys.columns()
    figure = figure_of_images.draw("A title", shown, rows)
    rows = min(rows, SHOWN)
    panels = np.array(figure.axes).reshape(rows, 4)
    assert figure.get_suptitle() == "A title"
    assert [panel.get_title() for panel in panels[0]] == ["LR\n4x4", "bicubic\n8x8", "ESPCN\n8x8", "HR\n8x8"]
    assert {panel.get_title() for panel in panels[1:].ravel()} <= {""}
    for number, column in enumerate(shown):
        for row, panel in enumerate(panels[:, number]):
            [image] = panel.images
            assert np.array_equal(image.get_array(), column.images[row]) and image.get_interpolation() == "nearest"
            assert panel.get_xlabel() == (f"{column.psnr[row]:.2f} dB" if column.psnr else "")
            assert len(panel.get_xticks()) == len(panel.get_yticks()) == 0


def test_the_gallery_is_no_blank_page(toys, tmp_path):
    toys.put("sr-espcn")
    plots.save(figure_of_images.draw("A title", toys.columns(), 2), tmp_path / "deep" / "fig3.png")
    assert imread(tmp_path / "deep" / "fig3.png").std() > 0.1


def test_by_name_the_figure_says_which_nets_it_lacks(toys):
    toys.put("sr-vdsr"), toys.put("sr-espcn", scale=2)
    notes = []
    drawn = figures.draw("fig3", frame(toys.store), toys.store, toys.data, notes.append, datasets=("toys",), images=2)
    assert len(drawn.axes) == 2 * 4 and drawn.axes[2].get_title() == "VDSR\n8x8"
    lacking = "{} has no column: it was not run"
    assert notes == [f"{lacking} on what the others were".format("sr-espcn"), lacking.format("sr-srgan")]


def test_the_title_names_the_dataset_and_each_seed_once(toys):
    toys.put("sr-espcn", seed=3), toys.put("sr-vdsr", seed=1), toys.put("sr-srgan", seed=3)
    assert figure_of_images.title(FIG_3, figure_of_images.choose(frame(toys.store), NETS)) == (
        "Fig. 3: toys 4x4 to 8x8, area, 12 test images (the first are shown)\nPSNR (RGB) below each; seed 3, 1"
    )


def test_the_caption_says_what_each_net_is(toys):
    toys.put("sr-espcn"), toys.put("sr-vdsr", settings={"channels": 8})
    chosen = figure_of_images.choose(frame(toys.store), NETS)
    told = {run["method"]: f"{run['epochs_in_weights']:.0f}" for _, run in chosen.iterrows()}
    pairs = f"{chosen.iloc[0]['data.train_images']:,.0f} pairs"
    said = figure_of_images.caption(FIG_3, chosen)
    espcn, vdsr = said.split("; ")
    assert espcn.startswith(f"ESPCN: {told['sr-espcn']} epoch") and espcn.endswith(pairs)
    assert vdsr.startswith(f"VDSR: {told['sr-vdsr']} epoch") and vdsr.endswith(f"{pairs}, channels=8")
    figure = figure_of_images.draw("A title", toys.columns(), 1, said)
    assert figure.get_supxlabel().replace("\n", " ") == said


def curves(toys, **chosen):
    """What is drawn of the score, by the name of the way of training."""
    figure = figure_of_epochs.draw(frame(toys.store), toys.store, **chosen)
    [legend] = figure.legends
    names = {
        line.get_color(): text.get_text() for text, line in zip(legend.get_texts(), legend.get_lines(), strict=True)
    }
    score = figure.axes[1]
    drawn = {names[line.get_color()]: line.get_ydata().tolist() for line in score.lines if len(line.get_xdata()) > 1}
    return score.get_title(loc="left"), drawn, figure


def test_curves_of_sr_nets_are_of_psnr(toys):
    toys.put("sr-espcn")
    toys.put("sr-espcn", seed=1, curve=CURVE.replace("22", "24"))
    toys.put("sr-vdsr")
    title, drawn, figure = curves(toys)
    assert title == "PSNR (dB)" and figure.get_suptitle().startswith("Restoration")
    assert "toys 4x4 to 8x8, area, 12 test images" in figure.get_suptitle()
    assert drawn == {"ESPCN (SR net)": [20.0, 21.0, 23.0], "VDSR (SR net)": [20.0, 21.0, 22.0]}
    assert len(figure.axes) == 2  # their rates are their own


def test_curves_of_sr_nets_and_classifiers_are_of_two_figures(toys):
    toys.put("sr-espcn")
    toys.put("espcn", curve=CURVE.replace("psnr", "top1"))
    assert curves(toys, methods=["sr-espcn"])[:2] == ("PSNR (dB)", {"ESPCN (SR net)": [20.0, 21.0, 22.0]})
    assert curves(toys, methods=["espcn"])[:2] == ("top-1 (%)", {"ESPCN": [20.0, 21.0, 22.0]})
