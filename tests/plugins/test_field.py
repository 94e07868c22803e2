"""The methods of other papers against their equations: numbers worked by hand, and what their losses must not see."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import tiny
from lrbench_methods import at, crd, crrcd, dist, dkd, f_skd, kd, pkt, reviewkd, rkd, sp, sr4ir, taught, vid
from lrbench_methods.taught import Answer, Taught
from torch import Tensor, nn

from lrbench.method import registry
from lrbench.method.base import Batch

N = 6  # images in a batch of noise
EYE, ALIKE = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])  # features of two images: apart, and the same
TAUGHT = [
    name
    for name in registry.methods()
    if issubclass(registry.method(name), Taught) and registry.method(name).loss is Taught.loss
]  # all whose own terms come from `distillation`
PRECISIONS = pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])


def about(value: Any) -> Any:
    return pytest.approx(value, rel=1e-5, abs=1e-6)


def autocast(bf16: bool) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=bf16)


def ready(name: str, settings: dict[str, Any] | None = None) -> Any:
    """A method half way through its training, past all warm-ups."""
    method = tiny.method(name, settings)
    method.progress.fill_(0.5)
    return method


def answer(features: Tensor | None = None, maps: list[Tensor] | None = None, logits: Tensor | None = None) -> Answer:
    """What a network makes of some images, as far as a method looks at it."""
    return Answer(maps, features, logits)  # type: ignore[arg-type]


def labelled(*y: int) -> Batch:
    """A batch of which a loss looks at labels and places alone."""
    return replace(tiny.batch(len(y)), y=torch.tensor(y))


def spatial(*values: float) -> Tensor:
    """One map (1, 1, 2, 2)."""
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 2, 2)


# Logits


def test_kd() -> None:
    z_s, z_t = torch.zeros(1, 2, requires_grad=True), torch.tensor([[4 * math.log(3), 0.0]])
    loss = taught.kl(z_s, z_t, 4.0)
    assert loss.item() == about(2.092994)  # half of it, where the mean over the classes is taken too
    loss.backward()
    assert z_s.grad is not None and z_s.grad.tolist() == [about([-1, 1])]  # T (p_s - p_t)
    assert taught.kl(z_s.repeat(5, 1), z_t.repeat(5, 1), 4.0).item() == about(2.092994)


def test_kd_is_weighted_beside_the_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    method, batch = tiny.method("kd", {"weight": 3, "ce": 0.5}), tiny.batch()
    z_s, z_t = torch.zeros(N, 3), torch.tensor([4 * math.log(3), 0.0, -100.0]).repeat(N, 1)
    monkeypatch.setattr(method.backbone, "head", lambda features: z_s)
    monkeypatch.setattr(method.needs["teacher"].backbone, "head", lambda features: z_t)
    terms = method.loss(batch)
    assert terms["recognition"].item() == about(0.5 * math.log(3))
    entropy = 0.75 * math.log(0.75) + 0.25 * math.log(0.25)  # the third class has e^-25 of the teacher
    assert terms["distillation"].item() == about(3 * 16 * (math.log(3) + entropy))


def test_standardised_logits() -> None:
    z = torch.tensor([[1.0, 2.0, 3.0], [2.0, 0.0, 7.0]])
    assert kd.standardised(z)[0].tolist() == about([-1, 0, 1])
    assert torch.allclose(kd.standardised(2.5 * z + 4), kd.standardised(z), atol=1e-5)
    assert not torch.allclose(kd.standardised(-z), kd.standardised(z), atol=1e-5)


def test_standardised_kd_does_not_see_the_scale_of_the_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, logits = tiny.batch(), torch.randn(N, 3, generator=torch.Generator().manual_seed(1))

    def distillation(standardise: bool, scale: float) -> float:
        method = tiny.method("kd", {"standardise": standardise, "temperature": 2.0, "weight": 9.0})
        monkeypatch.setattr(method.backbone, "head", lambda features: scale * logits + 3)
        return method.loss(batch)["distillation"].item()

    assert distillation(True, 1.0) == about(distillation(True, 5.0))
    assert distillation(False, 1.0) != pytest.approx(distillation(False, 5.0), rel=0.1)


def test_dkd() -> None:
    z_s, z_t, y = torch.zeros(1, 3), 4 * torch.tensor([[4.0, 3.0, 1.0]]).log(), torch.tensor([0])
    target, others = dkd.parts(z_s, z_t, y, 4.0)
    assert (target.item(), others.item()) == (about(0.942264), about(2.092994))
    s, t = answer(logits=z_s), answer(logits=z_t)
    assert total(ready("dkd").distillation(s, t, labelled(0))) == about(17.686218)
    p = z_t[0].div(4).softmax(dim=0)[0].item()  # of the target: KD is one part plus (1 - p) of the other (Eq. 6)
    assert taught.kl(z_s, z_t, 4.0).item() == about(target.item() + (1 - p) * others.item()) == about(16 * 0.124298)


def test_dkd_takes_apart_the_class_that_the_label_names() -> None:
    z_s, z_t = torch.zeros(1, 3), 4 * torch.tensor([[4.0, 3.0, 1.0]]).log()
    for y, order in ((1, [1, 0, 2]), (2, [2, 0, 1])):
        there, first = (dkd.parts(z_s, z, torch.tensor([at]), 4.0) for z, at in ((z_t, y), (z_t[:, order], 0)))
        assert [one.item() for one in there] == about([one.item() for one in first])


def test_dkd_grows_over_its_warm_up() -> None:
    method = ready("dkd", {"warmup": 0.4})
    s, t = answer(logits=torch.zeros(1, 3)), answer(logits=4 * torch.tensor([[4.0, 3.0, 1.0]]).log())
    sizes = []
    for progress in (0.0, 0.1, 0.4, 0.9):
        method.progress.fill_(progress)
        sizes.append(total(method.distillation(s, t, labelled(0))) / 17.686218)
    assert sizes == about([0, 0.25, 1, 1])


@pytest.mark.parametrize(("tau", "inter", "intra"), [(1.0, 0.964286, 1.666666), (4.0, 15.428571, 26.666662)])
def test_dist(tau: float, inter: float, intra: float) -> None:
    p_s, p_t = torch.tensor([[0.2, 0.3, 0.5], [0.3, 0.3, 0.4]]), torch.tensor([[0.5, 0.3, 0.2], [0.3, 0.3, 0.4]])
    s, t = (answer(logits=tau * p.log()) for p in (p_s, p_t))
    terms = ready("dist", {"weight": 1, "temperature": tau}).distillation(s, t, labelled(0, 1))
    assert (terms["inter"].item(), terms["intra"].item()) == (about(inter), about(intra))
    assert total(terms) == about(2.630952 * tau**2)
    assert total(ready("dist", {"temperature": tau}).distillation(s, t, labelled(0, 1))) == about(5.261904 * tau**2)
    assert dist.correlation_distance(p_s, p_t).item() == about(0.964286)


# Maps


@PRECISIONS
def test_fitnets(bf16: bool) -> None:
    method, maps = ready("fitnets", {"regressor": "none"}), [torch.zeros(2, 8, 4, 4), torch.ones(2, 8, 2, 2)]
    with autocast(bf16):
        terms = method.distillation(answer(maps=maps), answer(maps=[9 * maps[0], 3 * maps[1]]), labelled(0, 1))
    assert total(terms) == about(100 * 4)


def test_fitnets_regressor_is_trained_with_the_student_and_its_target_is_not() -> None:
    method = ready("fitnets").train()
    assert [type(layer) for layer in method.regressor] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    method.loss(tiny.batch())["hint"].backward()
    assert all(weight.grad is not None for weight in method.regressor.parameters())


@PRECISIONS
@pytest.mark.parametrize(
    ("s", "t", "square", "cosine"),
    [
        (spatial(1, 0, 0, 0), spatial(0, 1, 0, 0), 0.5, 1.0),
        (torch.cat([spatial(3, 0, 0, 0), spatial(4, 0, 0, 0)], dim=1), torch.ones(1, 2, 2, 2), 0.25, 0.5),
        (spatial(1, 2, 0, 1), spatial(2, 4, 0, 2), 0.0, 0.0),
    ],
)
def test_at(s: Tensor, t: Tensor, square: float, cosine: float, bf16: bool) -> None:
    for distance, expected in (("square", square), ("cosine", cosine)):
        method = ready("at", {"distance": distance, "weight": 10})
        method.places = [0, 1]  # two stages, the same: their terms are added up
        with autocast(bf16):
            terms = method.distillation(answer(maps=[s, s]), answer(maps=[t, t]), labelled(0))
        assert total(terms) == pytest.approx(20 * expected, rel=1e-5, abs=1e-5)
    assert at.attention(t).square().sum(dim=1).tolist() == about([1.0])


@pytest.mark.parametrize(
    ("s", "expected"), [(spatial(1, 0, 0, 0), 0.1875), (torch.eye(1, 16).view(1, 1, 4, 4), 0.040737)]
)
def test_reviewkds_distance(s: Tensor, expected: float) -> None:
    assert reviewkd.hcl(s, torch.zeros_like(s)).item() == pytest.approx(expected, rel=1e-5)
    assert reviewkd.hcl(s, s).item() == 0


def test_reviewkd_fuses_from_deep_to_shallow() -> None:
    """At any level its loss depends on the student's maps there and on deeper ones."""
    method, draw = ready("reviewkd", {"channels": 8}).eval(), torch.Generator().manual_seed(0)
    s, t = noise(method, draw), noise(method, draw)
    seen: list[Tensor] = []
    kept, reviewkd.hcl = reviewkd.hcl, lambda f_s, f_t: seen.append(f_s) or kept(f_s, f_t)  # type: ignore[func-returns-value]
    try:
        method.distillation(s, t, labelled(0, 1, 2, 0, 1, 2))
        first = seen.copy()
        seen.clear()
        method.distillation(replace(s, maps=[*s.maps[:2], s.maps[2] + 1, s.maps[3]]), t, labelled(0, 1, 2, 0, 1, 2))
    finally:
        reviewkd.hcl = kept
    assert len(first) == 5 and first[0].shape == (N, 64, 1, 1)  # the pooled vector and four maps
    assert [torch.equal(a, b) for a, b in zip(first, seen, strict=True)] == [True, True, False, False, False]


def test_reviewkd_grows_over_its_warm_up() -> None:
    method, draw = ready("reviewkd", {"channels": 8, "warmup": 0.4}), torch.Generator().manual_seed(0)
    s, t, sizes = noise(method, draw), noise(method, draw), []
    for progress in (0.0, 0.1, 0.4, 0.9):
        method.progress.fill_(progress)
        sizes.append(total(method.distillation(s, t, labelled(0, 1, 2, 0, 1, 2))))
    assert [size / sizes[-1] for size in sizes] == about([0, 0.25, 1, 1])


def test_vid() -> None:
    variance = torch.full((2,), 5.0)
    mean, target = torch.ones(3, 2, 4, 4), torch.full((3, 2, 4, 4), 3.0)
    assert vid.information(mean, target, variance).item() == about(1.204719)
    method = ready("vid", {"variance": 5.0})
    raw = method.raw_variances[0]
    assert raw.tolist() == about([math.log(math.exp(4.99999) - 1)] * len(raw))
    assert (nn.functional.softplus(raw) + 1e-5).tolist() == about([5.0] * len(raw))
    for place, stage in enumerate(method.means):
        method.means[place] = nn.Identity()
        assert sum(isinstance(layer, nn.Conv2d) for layer in stage) == 3
    shapes = method.backbone.shapes
    s, t = (answer(maps=[torch.full((2, *shape), value) for shape in shapes]) for value in (1.0, 3.0))
    assert total(method.distillation(s, t, labelled(0, 1))) == about(4 * 1.204719)


def test_vids_variances_learn_without_weight_decay() -> None:
    method = ready("vid").train()
    raws = {id(raw) for raw in method.raw_variances}
    [one] = method.optimizers(10)
    decayed, plain = one.optimizer.param_groups
    assert {id(raw) for raw in plain["params"]} == raws and plain["weight_decay"] == 0 < decayed["weight_decay"]
    every = [id(weight) for group in (decayed, plain) for weight in group["params"]]
    assert sorted(every) == sorted(id(weight) for weight in method.parameters())
    before = [raw.detach().clone() for raw in method.raw_variances]
    one.set_rate(0)
    method.step(tiny.batch(), [one])
    assert all((raw != old).all() for raw, old in zip(method.raw_variances, before, strict=True))


def test_simkd(monkeypatch: pytest.MonkeyPatch) -> None:
    method = ready("simkd", {"weight": 10}).eval()
    method.projector = nn.Identity()
    teacher, batch = method.needs["teacher"], tiny.batch()
    with torch.no_grad():
        for mine, other in zip(method.backbone.stages.parameters(), teacher.backbone.stages.parameters(), strict=True):
            mine.copy_(other)
    assert torch.equal(method(batch.hr), teacher(batch.hr))  # the same maps: the teacher's own logits
    assert method.loss(replace(batch, up=batch.hr))["features"].item() == 0
    assert not any(weight.requires_grad for weight in method.classifier.parameters())
    monkeypatch.setattr(method.backbone, "maps", lambda x: [torch.ones(N, 64, 2, 2)])
    monkeypatch.setattr(teacher.backbone, "maps", lambda x: [3 * torch.ones(N, 64, 2, 2)])
    terms = method.loss(batch)
    assert set(terms) == {"features"} and terms["features"].item() == about(10 * 4)


# Relations between images


@PRECISIONS
def test_sp(bf16: bool) -> None:
    s, t = (answer(maps=[f.view(2, 2, 1, 1)]) for f in (EYE, ALIKE))
    with autocast(bf16):
        assert total(ready("sp", {"weight": 10}).distillation(s, t, labelled(0, 1))) == about(2.92893)
    assert sp.similarity(ALIKE.view(2, 2, 1, 1)).tolist() == [about([math.sqrt(0.5)] * 2)] * 2


@PRECISIONS
def test_rkd(bf16: bool) -> None:
    t, s = (answer(torch.tensor(f)) for f in ([[0.0, 0], [3, 0], [0, 4]], [[0.0, 0], [1, 0], [0, 1]]))
    with autocast(bf16):
        terms = ready("rkd").distillation(s, t, labelled(0, 1, 2))
    assert terms["distance"].item() / 25 == pytest.approx(0.003481, abs=5e-7)
    assert terms["angle"].item() / 50 == pytest.approx(0.000744, abs=5e-7)
    assert total(terms) == about(0.124255)


def test_rkd_of_equal_images_has_gradients() -> None:
    f = torch.tensor([[1.0, 2.0], [1.0, 2.0], [3.0, 1.0]], requires_grad=True)
    terms = ready("rkd").distillation(answer(f), answer(torch.eye(3)), labelled(0, 1, 2))
    sum(terms.values()).backward()
    assert f.grad is not None and f.grad.isfinite().all() and f.grad.any()
    d = rkd.distances(f)  # 0 and two that are equal, of six places with four that count
    assert d.tolist() == [about([0, 0, 1]), about([0, 0, 1]), about([1, 1, 0])]


@PRECISIONS
def test_pkt(bf16: bool) -> None:
    with autocast(bf16):
        terms = ready("pkt", {"weight": 1}).distillation(answer(EYE), answer(ALIKE), labelled(0, 1))
    assert total(terms) == about(0.029446)
    assert pkt.neighbours(torch.tensor([[0.0, 0.0], [1.0, 0.0]])).isfinite().all()  # no direction at all


@PRECISIONS
def test_crd_with_the_negatives_of_the_batch(bf16: bool) -> None:
    method = ready("crd", {"negatives": "batch", "temperature": 0.5, "weight": 1})
    method.embed_s = method.embed_t = nn.Identity()
    with autocast(bf16):
        assert total(method.distillation(answer(EYE), answer(EYE), labelled(0, 1))) == about(0.126928)
    alone = crd.info_nce(EYE, EYE, torch.tensor([1, 1]), 0.5)
    assert alone.item() == about(0)  # the other image is of the same class: no negative
    e_s, e_t = torch.eye(3), torch.eye(3)[[1, 0, 2]]  # the first two are mistaken for each other
    expected = (2 * math.log(2 + math.exp(2)) + math.log(1 + 2 * math.exp(-2))) / 3
    assert crd.info_nce(e_s, e_t, torch.arange(3), 0.5).item() == about(expected)


def test_crds_estimate() -> None:
    own, other, all_of_them = torch.full((1,), 0.5), torch.full((1, 2), 0.5), torch.ones(1, 2, dtype=torch.bool)
    assert crd.nce(own, other, all_of_them, 2 / 4).item() == about(2.079442)
    assert crd.nce(own, other, torch.tensor([[True, False]]), 2 / 4).item() == about(2 * math.log(2))


@PRECISIONS
def test_crd_with_a_bank(bf16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """All embeddings are alike, so each of 40 images has the probability 1/40, and K / M is 1."""
    method = ready("crd", {"weight": 1})
    method.embed_s = method.embed_t = nn.Identity()
    first = torch.eye(128)[0]
    for bank in (method.bank_s, method.bank_t):
        bank.rows.copy_(first.expand_as(bank.rows))
    s, apart, alike = answer(first.repeat(2, 1)), labelled(0, 1), labelled(0, 0)
    monkeypatch.setattr(torch, "randint", lambda rows, size, device: torch.arange(*size))
    with autocast(bf16):
        found = total(method.distillation(s, s, apart))
    told_apart = 39 * math.log(1 + 1 / 40)  # from all but itself: the 38 others are of unknown classes
    assert found == about(2 * (math.log(41) + told_apart))
    assert method.classes_seen.tolist() == [0, 1] + [-1] * 38
    with autocast(bf16):
        again = total(method.distillation(s, s, alike))  # now the two are of one class
    assert again == about(2 * (math.log(41) + 38 * math.log(1 + 1 / 40)))


def test_crds_bank_moves_half_way_to_the_batch_and_keeps_its_scale() -> None:
    bank = crd.Bank(3, 2)
    bank.rows.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]))
    bank.take(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([1, 0]), 0.5)
    half = math.sqrt(0.5)
    assert bank.rows.tolist() == [about([half, half]), about([half, half]), about([0.6, 0.8])]
    others, chosen = torch.ones(1, 3, dtype=torch.bool), torch.arange(3)
    e, index = torch.tensor([[0.0, 1.0]]), torch.tensor([2])
    bank.contrast(e, index, chosen, others, 0.5)
    similar = torch.tensor([0.8, half, half, 0.8])
    assert bank.z.item() == about(3 * (2 * similar).exp().mean().item())
    bank.rows.zero_()
    before = bank.z.clone()
    bank.contrast(e, index, chosen, others, 0.5)
    assert torch.equal(bank.z, before)  # the first batch's, for good


@PRECISIONS
def test_crrcd(bf16: bool) -> None:
    assert crrcd.contrast(torch.zeros(4, 4, 4)).item() == about(2.079442)  # one positive and two negatives
    method = ready("crrcd", {"weight": 1})
    for relation in (method.relation_t, method.relation_ts):
        nn.init.zeros_(relation[2].weight)
        nn.init.zeros_(relation[2].bias)
    f = torch.rand(4, 64, generator=torch.Generator().manual_seed(0))
    with autocast(bf16):
        assert total(method.distillation(answer(f), answer(f), labelled(0, 1, 2, 0))) == about(2.079442)


def test_crrcd_tells_a_pair_from_pairs_with_other_images() -> None:
    similar = torch.zeros(3, 3, 3)
    similar[0, 1, 1] = similar[0, 2, 2] = similar[1, 0, 0] = 2.0  # of 6 pairs three are found
    similar[2, 0, 1] = -2.0  # and one of 6 negatives is told apart
    similar[0, 0], similar[:, 1, 1][1], similar[2, 1, 2] = 9.0, 9.0, 9.0  # with itself: these do not count
    known, unknown = math.log(1 + math.exp(-2)), math.log(2)
    assert crrcd.contrast(similar).item() == about((3 * known + 3 * unknown + known + 5 * unknown) / 6)


@PRECISIONS
def test_f_skd_of_first_order(bf16: bool) -> None:
    assert f_skd.cosine_distance(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 4.0]])).item() == about(0.4)
    method = ready("f-skd", {"weight": 10})
    s, t = (spatial(*values).repeat(3, 1, 1, 1) for values in ((1, 0, 0, 0), (3, 4, 0, 0)))
    no = torch.eye(3)[[1, 2, 0]]  # the teacher is wrong about all of them: no second order
    with autocast(bf16):
        terms = method.distillation(answer(None, [s] * 4, no), answer(None, [t] * 4, no), labelled(0, 1, 2))
    assert (terms["first_order"].item(), terms["second_order"].item()) == (about(4), 0)


@PRECISIONS
def test_f_skd_of_second_order(bf16: bool) -> None:
    """Two images of a class that the teacher knows, beside one that is alone and two that it does not know."""
    h, low = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2), torch.ones(1, 1, 1, 2)
    assert f_skd.second_order(low, h, low, h).tolist() == [about(0.792893)]
    y, seen = [0, 1, 0, 2, 2], [0, 1, 0, 1, 1]
    maps_s, maps_t = ([maps.repeat(5, 1, 1, 1)] * 4 for maps in (low, h))
    method = ready("f-skd", {"second": 10})
    s, t = (answer(None, maps, torch.eye(3)[seen]) for maps in (maps_s, maps_t))
    with autocast(bf16):
        assert method.distillation(s, t, labelled(*y))["second_order"].item() == about(7.92893)


def test_f_skds_partner_is_the_next_of_its_class_that_the_teacher_knows() -> None:
    y, known = torch.tensor([0, 1, 0, 0, 1, 2]), torch.tensor([True, True, False, True, True, True])
    partner, has_one = f_skd.partners(y, known)
    assert has_one.tolist() == [True, True, False, True, True, False]
    assert partner[has_one].tolist() == [3, 4, 0, 1]


# No teacher, and no teacher of this kind


@pytest.mark.parametrize("passes", ["one", "two"])
@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_mixed(passes: str, weight: float) -> None:
    method = ready("mixed", {"passes": passes, "weight": weight})
    with torch.no_grad():
        for parameter in method.backbone.classifier.parameters():
            parameter.zero_()
    terms = method.loss(tiny.batch())
    assert total(terms) == about(math.log(3))
    assert terms["high"].item() == about(weight * terms["low"].item())


def test_mixed_normalises_over_both_or_over_each() -> None:
    batch = tiny.batch()
    batch = replace(batch, up=batch.up / 10, y=torch.zeros_like(batch.y))  # dark: other statistics than HR's
    low = {}
    for passes in ("one", "two"):
        low[passes] = ready("mixed", {"passes": passes}).train().loss(batch)["low"].item()
    control = ready("lr-baseline").train().loss(batch)["recognition"].item()
    assert low["two"] == about(control / 2) and low["one"] != pytest.approx(low["two"], rel=1e-3)


def test_sr4ir(monkeypatch: pytest.MonkeyPatch) -> None:
    method, batch = ready("sr4ir"), replace(tiny.batch(), y=torch.tensor([0, 1, 0, 1, 0, 1]))
    seen: list[Tensor] = []
    monkeypatch.setattr(method.backbone, "forward", lambda image: seen.append(image) or torch.zeros(N, 2))
    terms = method.recognition(batch.up, batch)
    assert set(terms) == {"restored", "hr", "mixed"} and total(terms) == about(0.707010)
    assert torch.equal(seen[0], batch.up) and torch.equal(seen[1], batch.hr)
    assert not torch.equal(seen[2], batch.up) and not torch.equal(seen[2], batch.hr)


def test_sr4irs_mixture_has_whole_cells() -> None:
    torch.manual_seed(0)
    cells = sr4ir.mix(torch.zeros(50, 3, 8, 8), torch.ones(50, 3, 8, 8))
    small = cells[:, :1, ::2, ::2]  # 4x4 cells of 2x2 pixels
    assert torch.equal(cells, small.repeat_interleave(2, 2).repeat_interleave(2, 3).expand(-1, 3, -1, -1))
    assert small.unique().tolist() == [0, 1] and small.mean().item() == pytest.approx(0.5, abs=0.1)
    assert len({tuple(one.flatten().tolist()) for one in small}) > 45  # each image has its own


def test_sr4irs_likeness_is_of_images_and_after_the_warm_up_of_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    method, batch = ready("sr4ir", {"pixel": 2, "weight": 3, "warmup": 0.25}), tiny.batch()
    monkeypatch.setattr(method.backbone, "maps", lambda image: [image, 5 * image])
    found = []
    for progress in (0.0, 0.2, 0.25, 0.9):
        method.progress.fill_(progress)
        terms = method.likeness(batch.hr + 0.5, batch.hr)
        found.append((terms["pixel"].item(), terms["task"].item()))
    assert found == [(about(1), 0), (about(1), 0), (about(1), about(7.5)), (about(1), about(7.5))]


def test_sr4irs_step_moves_the_sr_net_first_and_then_the_classifier() -> None:
    method, batch = ready("sr4ir").train(), tiny.batch()
    optimizers = method.optimizers(10)
    for one in optimizers:
        one.set_rate(5)
    held = [{id(weight) for group in one.optimizer.param_groups for weight in group["params"]} for one in optimizers]
    parts = [method.restorer, method.backbone]
    assert held == [{id(weight) for weight in part.parameters()} for part in parts]
    before = [[weight.detach().clone() for weight in part.parameters()] for part in parts]
    moved = []
    for one in optimizers:

        def step(made: Any = one, plain: Callable[..., Any] = one.minimize) -> Callable[..., None]:
            def minimize(loss: Tensor, clip: float | None = None) -> None:
                plain(loss, clip)
                now = [[*part.parameters()] for part in parts]
                moved.append(
                    [any((a != b).any() for a, b in zip(x, y, strict=True)) for x, y in zip(now, before, strict=True)]
                )

            return minimize

        one.minimize = step()  # type: ignore[method-assign]
    method.step(batch, optimizers)
    assert moved == [[True, False], [True, True]]
    assert all(weight.requires_grad for weight in method.parameters())


# What the losses must not see


def noise(method: Any, draw: torch.Generator) -> Answer:
    """An answer to N images as a network with ReLUs gives it, of the shapes of the method's."""
    maps = [torch.randn(N, *shape, generator=draw).relu() for shape in method.backbone.shapes]
    features = torch.randn(N, method.backbone.dimension, generator=draw).relu()
    return Answer(maps, features, torch.randn(N, 3, generator=draw))


def pair(method: Any) -> tuple[Answer, Answer, Batch]:
    """A student's answer, another one of the teacher, who knows all images, and a batch with two of each class."""
    draw = torch.Generator().manual_seed(1)
    s, t, y = noise(method, draw), noise(method, draw), torch.tensor([0, 1, 2, 0, 1, 2])
    logits = t.logits + 9 * torch.eye(3)[y]
    return s, replace(t, logits=logits), labelled(*y.tolist())


def total(terms: dict[str, Tensor]) -> float:
    return torch.stack([*terms.values()]).sum().item()


def distilled(method: Any, s: Answer, t: Answer, batch: Batch) -> list[float]:
    """The method's terms, of the same random numbers and from the same state each time."""
    state = {name: value.clone() for name, value in method.state_dict().items()}
    torch.manual_seed(0)
    terms = method.distillation(s, t, batch)
    method.load_state_dict(state)
    return [term.item() for term in terms.values()]


def scaled(s: Answer, by: float = 1.0, logits: float = 1.0, shift: float = 0.0, moved: float = 0.0) -> Answer:
    return Answer([by * maps for maps in s.maps], by * s.features + moved, logits * s.logits + shift)


BLIND = [  # to what change of the student's answer
    ("at", {}, {"by": 3.0}), ("at", {"distance": "cosine"}, {"by": 3.0}), ("sp", {}, {"by": 3.0}),
    ("pkt", {}, {"by": 3.0}), ("f-skd", {}, {"by": 3.0}), ("rkd", {}, {"by": 3.0, "moved": 0.5}),
    ("dkd", {}, {"shift": 2.0}), ("dist", {}, {"shift": 2.0}),
]  # fmt: skip
SEES = [
    ("pkt", {}, {"moved": 0.5}), ("dkd", {}, {"logits": 2.0}), ("dist", {}, {"logits": 2.0}),
    ("fitnets", {"regressor": "none"}, {"by": 3.0}), ("vid", {}, {"by": 30.0}),
    ("crd", {"negatives": "batch"}, {"moved": 0.5}), ("crrcd", {}, {"by": 3.0}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "settings", "change"), BLIND)
def test_a_loss_does_not_see(name: str, settings: dict[str, Any], change: dict[str, float]) -> None:
    s, t, batch = pair(method := ready(name, settings))
    before = distilled(method, s, t, batch)
    assert min(before) > 0 and distilled(method, scaled(s, **change), t, batch) == pytest.approx(before, rel=1e-4)


@pytest.mark.parametrize(("name", "settings", "change"), SEES)
def test_a_loss_sees(name: str, settings: dict[str, Any], change: dict[str, float]) -> None:
    s, t, batch = pair(method := ready(name, settings))
    before = distilled(method, s, t, batch)
    assert distilled(method, scaled(s, **change), t, batch) != pytest.approx(before, rel=1e-2)


@pytest.mark.parametrize("name", ["sp", "rkd", "pkt", "f-skd", "crd", "crrcd"])
def test_near_the_teacher_products_are_as_exact_within_autocast(name: str) -> None:
    """What is small there is a difference of products, which bfloat16 would drown."""
    s, t, batch = pair(method := ready(name))
    near = Answer(
        [maps + 1e-2 * other for maps, other in zip(t.maps, s.maps, strict=True)],
        t.features + 1e-2 * s.features,
        t.logits,
    )
    plain = distilled(method, near, t, batch)
    with autocast(True):
        assert min(plain) > 0 and distilled(method, near, t, batch) == pytest.approx(plain, rel=1e-5)


NEVER_ZERO = {"vid", "crd", "crrcd", "reviewkd"}  # a variance, contrasts, and projectors that are random at first


@PRECISIONS
@pytest.mark.parametrize("name", [name for name in TAUGHT if name not in NEVER_ZERO])
def test_a_student_like_its_teacher_has_nothing_to_learn_from_it(name: str, bf16: bool) -> None:
    method = ready(name, {"regressor": "none"} if name == "fitnets" else {})
    _, t, batch = pair(method)
    with autocast(bf16):
        found = distilled(method, t, t, batch)
    largest = max(value for key, value in method.config.model_dump().items() if isinstance(value, float))
    assert found == pytest.approx([0.0] * len(found), abs=1e-6 * max(largest, 16))


@pytest.mark.parametrize("name", [*TAUGHT, "crd-batch"])
def test_the_order_of_a_batch_does_not_matter(name: str) -> None:
    """F-SKD's partner is the next image of the class: with two of each class it is the same one in any order."""
    method = ready("crd", {"negatives": "batch"}) if name == "crd-batch" else ready(name)
    s, t, batch = pair(method)
    order = torch.tensor([3, 5, 0, 2, 1, 4])

    def moved(one: Answer) -> Answer:
        return Answer([maps[order] for maps in one.maps], one.features[order], one.logits[order])

    other = replace(batch, y=batch.y[order], index=batch.index[order])
    before = distilled(method, s, t, batch)
    assert distilled(method, moved(s), moved(t), other) == pytest.approx(before, rel=1e-4)
    assert distilled(method, moved(s), t, batch) != pytest.approx(before, rel=1e-4)  # not with others' teachers


def test_every_method_of_the_field_that_has_a_distillation_is_here() -> None:
    assert set(TAUGHT) >= {
        "dkd",
        "dist",
        "fitnets",
        "at",
        "sp",
        "rkd",
        "pkt",
        "vid",
        "crd",
        "reviewkd",
        "f-skd",
        "crrcd",
    }
