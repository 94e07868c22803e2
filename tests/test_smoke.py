"""The smoke benchmark: DFD and what it needs, on small parts of real images, from import to table."""

import json

import numpy as np
import pytest
from PIL import Image

from lrbench.data.importing import import_dataset
from lrbench.execute.progress import Progress
from lrbench.execute.session import Request, run
from lrbench.report import published
from lrbench.report.filled import fill
from lrbench.report.formats import render
from lrbench.report.frame import frame
from lrbench.report.table import table
from lrbench.store.store import Store

pytestmark = pytest.mark.filterwarnings("error")


def grey(real):
    """svhn-partial's photos as a MedMNIST file of grey 28x28 images, labels (n, 1)."""
    with np.load(real / "svhn-partial.npz") as svhn:
        arrays = {name: svhn[name] for name in svhn if name.endswith(("_images", "_labels"))}
    for name, array in arrays.items():
        images = name.endswith("_images")
        arrays[name] = array[:, 2:30, 2:30].mean(axis=3).astype(np.uint8) if images else array[:, None]
    np.savez(real / "grey28.npz", **arrays)
    return real / "grey28.npz"


def folder(real):
    """Three of CIFAR-10's classes as a folder of PNG class folders: 60 images a class to train on, 20 to test on."""
    with np.load(real / "cifar10.npz") as cifar10:
        for split, n in (("train", 60), ("test", 20)):
            images, labels = cifar10[f"{split}_images"], cifar10[f"{split}_labels"]
            for label, name in enumerate(["airplane", "automobile", "bird"]):
                place = real / "pictures" / split / name
                place.mkdir(parents=True)
                for row in np.flatnonzero(labels == label)[:n]:
                    Image.fromarray(images[row]).save(place / f"{row}.png")
    return real / "pictures"


@pytest.fixture(scope="module")
def root(real_data, tmp_path_factory):
    """The data sets, imported. `real_data` is shared with other tests: what is made of it lies elsewhere."""
    made, root = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("data")
    for name in ("cifar10", "svhn-partial"):
        (made / f"{name}.npz").symlink_to(real_data / f"{name}.npz")
        import_dataset(name, made / f"{name}.npz", root)
    import_dataset("grey28", grey(made), root)
    import_dataset("pictures", folder(made), root)
    return root


class Trained(Progress):
    """What is trained: "METHOD DATASET"."""

    def __init__(self):
        self.runs = []

    def start(self, spec, title, done, images):
        self.runs.append(f"{spec.method} {spec.dataset}")


def dfd(root, results, dataset, scale, **options):
    """The record of DFD, and what was trained for it."""
    trained = Trained()
    alexnet = {"backbone": "alexnet", "width": 0.25, "recipe": "quick", "epochs": 2}
    small = {"limit_train": 500, "limit_test": 200, "device": "cpu", "precision": "fp32"}
    request = Request("dfd", dataset, results, scale=scale, data=root, **(alexnet | small | options))
    [record] = run(request, trained)
    return record, trained.runs


@pytest.fixture(scope="module")
def benchmark(root, tmp_path_factory):
    """The store, and (data set, scale) -> what `dfd` returned."""
    results = tmp_path_factory.mktemp("smoke") / "runs"
    whole = {"limit_train": None, "limit_test": None}
    places = {("cifar10", 4): {}, ("cifar10", 2): {}, ("svhn-partial", 4): {"epochs": 1}}
    places |= {("grey28", 4): {}, ("pictures", 4): whole, ("pictures", 2): whole}
    return Store(results), {place: dfd(root, results, *place, **changes) for place, changes in places.items()}


def test_each_data_set_is_learned_from_its_own_images(benchmark):
    _, done = benchmark
    for (dataset, scale), (record, _) in done.items():
        facts = record.data
        assert (record.spec.dataset, record.spec.scale) == (dataset, scale)
        assert facts.side == (28 if dataset == "grey28" else 32)
        expected = (3, 180, 60) if dataset == "pictures" else (10, 500, 200)
        assert (len(facts.classes), facts.train_images, facts.test_images) == expected
        assert 0 <= record.metrics["top1"] <= 100 and record.metrics["images_per_second"] > 0
        assert record.metrics["top1"] * facts.test_images / 100 == pytest.approx(
            round(record.metrics["top1"] * facts.test_images / 100)
        )
        assert record.metrics["parameters"] == done["cifar10", 4][0].metrics["parameters"] or dataset == "pictures"


def test_a_teacher_is_trained_once_for_all_scales(benchmark):
    _, done = benchmark
    teachers = {place: [run for run in trained if run.startswith("hr-")] for place, (_, trained) in done.items()}
    assert teachers["cifar10", 4] == ["hr-baseline cifar10"] and teachers["cifar10", 2] == []
    assert teachers["pictures", 4] == ["hr-baseline pictures"] and teachers["pictures", 2] == []
    for record, trained in done.values():
        assert trained[-1] == f"dfd {record.spec.dataset}"


def test_run_again_it_trains_nothing_and_gives_the_same(benchmark, root):
    store, done = benchmark
    assert dfd(root, store.root, "cifar10", 4) == (done["cifar10", 4][0], [])


def test_table_1_shows_what_is_the_papers_under_its_protocol(benchmark):
    store, done = benchmark
    filled = fill(published.table("1"), frame(store))
    shown = {}
    for one in filled:
        for row in one.rows:
            for label, cell in zip(one.columns, row.cells, strict=True):
                if row.method == "dfd" and len(cell.runs):
                    shown[label, one.conditions] = (row.label, cell)
    papers = {place: ran for place, ran in done.items() if place[0] == "cifar10"}
    assert len(shown) == len(papers) == 2
    for (dataset, scale), (record, _) in papers.items():
        size = record.data.side // scale
        epochs = f"{record.spec.recipe.epochs} epoch{'s' * (record.spec.recipe.epochs != 1)}"
        start, end = (
            f"recipe quick, {epochs}, ",
            ", 500 training and 200 test images, pil-bicubic, final epoch, width 0.25",
        )
        [conditions] = {under for _, under in shown}
        assert conditions.startswith(start) and conditions.endswith(end)
        label, cell = shown[f"{dataset} {size}x{size}", conditions]
        assert label == "DFD (AlexNet)" and list(cell.runs["id"]) == [record.id]
        assert cell.published == {("cifar10", 4): 66.23, ("cifar10", 2): 71.60}.get((dataset, scale))
    tables = [table(one, long=True) for one in filled]
    text = render(tables, "md")
    assert "svhn-partial" not in text and "Their teachers' top-1 %: DFD (AlexNet), cifar10 8x8" in text
    lines = [line for line in json.loads(render(tables, "json")) if line["method"] == "dfd" and line["n"]]
    assert lines and all(line["teacher_top1"] for line in lines)


def test_what_was_predicted_is_stored_image_by_image(benchmark):
    store, done = benchmark
    for record, _ in done.values():
        kept = store.predictions(record.id)
        assert len(kept["predicted"]) == len(kept["label"]) == record.data.test_images
        assert 100 * (kept["predicted"] == kept["label"]).mean() == pytest.approx(record.metrics["top1"])
    four, two = (store.predictions(done["cifar10", scale][0].id) for scale in (4, 2))
    assert (four["label"] == two["label"]).all()  # the same images at every scale
