"""Restored images: made by hand they are the same, made once, kept, and known by what they are made from."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import tiny
from helpers.files import listing

from lrbench.data.degradation import DEGRADATIONS
from lrbench.data.pairs import to_float
from lrbench.data.prepare import Prepared, prepare
from lrbench.execute import session
from lrbench.execute.runner import macs
from lrbench.execute.session import Request
from lrbench.method.registry import method as method_class
from lrbench.spec.record import Record
from lrbench.store.arrays import arrays
from lrbench.store.store import WEIGHTS, Store
from lrbench.testing import Watch
from lrbench.train.build import load_frozen
from lrbench.train.restored import see_through
from lrbench.train.tasks import predict

CPU = torch.device("cpu")
SMALL = {"channels": 4, "sr_scale": 2}
NETS = {"sr-espcn": SMALL, "sr-vdsr": SMALL | {"depth": 3}}  # one sees LR, the other LR enlarged


@pytest.fixture
def store(tmp_path):
    """An empty store; what it warns of is in `store.warned`."""
    warned = []
    store = Store(tmp_path / "runs", warned.append)
    store.warned = warned
    return store


@pytest.fixture
def data():
    """12 + 7 pairs of noise, 4x4 to 16x16, whose `up` has nothing to do with `lr`."""
    return Prepared(noise(12, 0), None, noise(7, 1), tiny.FACTS, (0.5,) * 3, (0.2,) * 3)


def noise(n, seed):
    up = torch.randint(256, (n, 16, 16, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return replace(tiny.pairs(n, seed=seed), up=up)


@dataclass
class Net:
    """An SR net that nobody trained, with the record of its run."""

    name: str = "sr-espcn"
    degradation: str = "pil-bicubic"
    digest: str = "1a"

    def __post_init__(self):
        spec = tiny.spec(self.name, NETS[self.name], degradation=self.degradation)
        self.method = tiny.make(spec).requires_grad_(False).eval()
        files = {WEIGHTS: self.digest}
        self.record = Record(
            id=spec.id, spec=spec, metrics={}, data=tiny.FACTS, env={}, method_source=None, files=files
        )

    def see(self, data, store):
        return see_through(data, self.method, self.record, store)


def kept(store):
    """The names of the images that are kept."""
    return {path.name for path in store.root.glob(".images/*") if not path.name.startswith(".")}


def kept_images(store, key):
    """Images that are kept, without a way to make them."""
    return torch.from_numpy(arrays(store.root / ".images" / key, never)["images"])


def never(*_):
    raise AssertionError("the net was asked")


@pytest.mark.parametrize("degradation", ["torch-bicubic-aa", "matlab-bicubic"])
@pytest.mark.parametrize("name", NETS)
def test_restored_images_are_those_computed_by_hand(name, degradation, data, store):
    net, resize = Net(name, degradation), DEGRADATIONS[degradation].up
    seen = net.see(data, store)
    for pairs, through in ((data.train, seen.train), (data.test, seen.test)):
        image = pairs.lr.numpy() if name == "sr-espcn" else resize(pairs.lr.numpy(), 8)
        output = net.method(torch.tensor(image.transpose(0, 3, 1, 2) / np.float32(255)))
        restored = np.clip(np.rint(output.numpy() * np.float32(255)), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
        assert restored.shape == (len(pairs), 8, 8, 3) and restored.std() > 1
        expected = resize(np.ascontiguousarray(restored), 16)
        # not bit for bit: a convolution in another memory order rounds otherwise
        off = np.abs(through.up.numpy().astype(int) - expected)
        assert off.max() <= 2 and (off > 0).mean() < 0.01
        assert torch.equal(through.hr, pairs.hr) and torch.equal(through.lr, pairs.lr)
        assert torch.equal(through.y, pairs.y)


def test_images_restored_to_the_full_size_are_not_resized(data, store, monkeypatch):
    monkeypatch.setitem(NETS, "sr-espcn", SMALL | {"sr_scale": 4})
    net = Net()
    seen = net.see(data, store)
    assert net.method.context.side == 16
    assert {images.numpy().tobytes() for images in (seen.train.up, seen.test.up)} == {
        kept_images(store, key).numpy().tobytes() for key in kept(store)
    }


def test_images_are_restored_once(data, store, monkeypatch):
    net = Net()
    first = net.see(data, store)
    monkeypatch.setattr(type(net.method), "forward", never)
    before = listing(store.root)
    again = net.see(data, store)
    assert torch.equal(first.train.up, again.train.up) and torch.equal(first.test.up, again.test.up)
    assert listing(store.root) == before and store.warned == []
    with pytest.raises(AssertionError, match="the net was asked"):
        replace(net, digest="2b").see(data, store)


def test_restored_images_are_kept_small_in_the_store(data, store):
    Net().see(data, store)
    assert {path.name for path in store.root.iterdir()} == {".images"}
    assert {tuple(kept_images(store, key).shape) for key in kept(store)} == {(12, 8, 8, 3), (7, 8, 8, 3)}
    assert store.records() == []


def test_validation_images_are_restored_too(data, store):
    net, val = Net(), noise(5, 2)
    seen = net.see(replace(data, val=val), store)
    assert len(kept(store)) == 3 and not torch.equal(seen.val.up, val.up)
    assert torch.equal(seen.val.up, net.see(replace(data, test=val), store).test.up)


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: b"", lambda data: data[:-1] + b"?"])
def test_damaged_images_are_made_again(damage, data, store):
    net = Net()
    first = net.see(data, store)
    expected = first.train.up.clone(), first.test.up.clone()
    path = store.root / ".images" / min(kept(store)) / "images.npy"
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    again = net.see(data, store)
    assert torch.equal(expected[0], again.train.up) and torch.equal(expected[1], again.test.up)
    assert path.read_bytes() == whole


def test_images_that_an_older_version_kept_are_made_again(data, store):
    first = Net().see(data, store)
    folder = store.root / ".images" / min(kept(store))
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "images").write_bytes(b"a checksum and tensors")
    again = Net().see(data, store)
    assert torch.equal(first.test.up, again.test.up) and torch.equal(first.train.up, again.train.up)
    assert {path.name for path in folder.iterdir()} == {"images.npy", "checksums.json"}


def test_what_a_killed_predecessor_left_half_written_is_removed(data, store):
    Net().see(data, store)
    folder = store.root / ".images" / min(kept(store))
    folder.rename(folder.with_name(f".tmp-new-12345678-{folder.name}"))
    Net().see(data, store)
    assert {path.name for path in folder.iterdir()} == {"images.npy", "checksums.json"}
    assert len(list((store.root / ".images").iterdir())) == 2


def test_retrained_weights_restore_anew(data, store):
    Net().see(data, store)
    first = kept(store)
    Net(digest="2b").see(data, store)
    assert len(first) == 2 and first < kept(store) and len(kept(store)) == 4


def test_other_images_are_restored_anew(data, store):
    net = Net()
    net.see(data, store)
    lr = data.test.lr.clone()
    lr[0, 0, 0, 0] ^= 1
    net.see(replace(data, test=replace(data.test, lr=lr)), store)
    assert len(kept(store)) == 3  # those of the training images are shared


def test_another_net_restores_anew(data, store):
    Net().see(data, store)
    Net("sr-vdsr").see(data, store)
    assert len(kept(store)) == 4


@pytest.mark.parametrize("name", NETS)
def test_a_net_is_given_lr_images_and_nothing_else(name, data, store, tmp_path, monkeypatch):
    net, blind = Net(name), noise(7, 9)
    inputs, forward = [], type(net.method).forward

    def seen(this, image):
        inputs.append(image.clone())
        return forward(this, image)

    monkeypatch.setattr(type(net.method), "forward", seen)
    through = net.see(data, store).test
    test = replace(data.test, hr=blind.hr, up=blind.up)
    elsewhere = net.see(replace(data, test=test), Store(tmp_path / "elsewhere")).test
    assert len(inputs) == 4 and torch.equal(inputs[1], inputs[3])
    assert torch.equal(through.up, elsewhere.up)
    classifier = tiny.method("espcn", SMALL).eval()
    assert torch.equal(predict(classifier, through), predict(classifier, elsewhere))


# --- runs -----------------------------------------------------------------------------------------------

OPTIONS = {
    "dataset": "digits", "scale": 4, "width": 0.125, "recipe": "quick", "epochs": 1, "limit_train": 150,
    "limit_test": 60, "precision": "fp32", "device": "cpu", "settings": SMALL,
}  # fmt: skip


@dataclass
class Trained:
    """ESPCN and the classifier of its images in a store: 2x2 to 4x4, enlarged to 8x8."""

    results: Path
    watch: Watch
    record: Record

    @property
    def store(self):
        return Store(self.results)

    @property
    def net(self):
        return self.store.get(self.record.spec.needs["restorer"], weights=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    results, watch = tmp_path_factory.mktemp("restored") / "runs", Watch()
    with watch.over(method_class("espcn")):
        [record] = session.run(Request("espcn", results=results, **OPTIONS), watch)
    return Trained(results, watch, record)


def test_a_classifier_is_tested_on_restored_images(trained):
    data = prepare(trained.record.spec, Path("/nowhere"), CPU)
    by_hand = see_through(data, load_frozen(trained.net.spec, trained.store, CPU), trained.net, trained.store).test
    tested = torch.cat([images for (images,), _, _ in trained.watch.tested])
    assert torch.equal(tested, to_float(by_hand.up)) and not torch.equal(by_hand.up, data.test.up)


def test_a_second_run_trains_nothing(trained):
    before, watch = listing(trained.results), Watch()
    assert session.run(Request("espcn", results=trained.results, **OPTIONS), watch) == [trained.record]
    assert watch.started == [] and listing(trained.results) == before


def test_classifiers_of_other_backbones_share_the_net_and_its_images(trained, monkeypatch):
    before, watch = listing(trained.results / ".images"), Watch()
    monkeypatch.setattr(method_class("sr-espcn"), "forward", never)
    [other] = session.run(Request("espcn", results=trained.results, backbone="alexnet", **OPTIONS), watch)
    assert watch.started == [other.id] and other.id != trained.record.id
    assert len(before) == 2 * 3 and listing(trained.results / ".images") == before


def test_images_that_were_removed_are_made_again(trained):
    before, watch = listing(trained.results / ".images"), Watch()
    shutil.rmtree(trained.results / ".images")
    [other] = session.run(Request("espcn", results=trained.results, backbone="vgg16", **OPTIONS), watch)
    assert watch.started == [other.id]
    assert len(before) == 2 * 3 and listing(trained.results / ".images") == before


def test_the_cost_of_a_classifier_has_that_of_its_net_in_it(trained):
    own = macs(load_frozen(trained.record.spec, trained.store, CPU), torch.zeros(1, 8, 8, 3, dtype=torch.uint8))
    net = trained.net.metrics["macs"]
    # Shi et al. 2016, section 3.2, with 4 and 2 channels, on 2x2 pixels
    assert net == 2 * 2 * (25 * 3 * 4 + 9 * 4 * 2 + 9 * 2 * 12)
    assert trained.record.metrics["macs"] == own + net
