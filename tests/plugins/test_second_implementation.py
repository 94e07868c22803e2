"""Losses of the field against torchdistill's (pip install --no-deps torchdistill), where that is installed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import tiny
from lrbench_methods import crd, reviewkd, vid
from lrbench_methods.taught import Answer
from torch import Tensor
from torch.nn import functional as F

theirs = pytest.importorskip("torchdistill.losses.mid_level", reason="torchdistill is not installed")

N, HERE = 8, ("here", "output", "here", "output")  # where theirs finds the student's output and the teacher's
DRAW = torch.Generator().manual_seed(0)
S, T = (
    Answer(
        [torch.randn(N, *shape, generator=DRAW).relu() for shape in ((8, 16, 16), (16, 8, 8), (32, 4, 4), (64, 2, 2))],
        torch.randn(N, 64, generator=DRAW).relu(),
        3 * torch.randn(N, 3, generator=DRAW),
    )
    for _ in range(2)
)


def ours(name: str, settings: dict[str, Any]) -> float:
    method = tiny.method(name, settings)
    method.progress.fill_(0.5)
    terms = method.distillation(S, T, tiny.batch(N))  # type: ignore[operator]
    return sum(terms.values()).item()


def other(loss: Any, s: Tensor, t: Tensor, targets: Tensor | None = None) -> float:
    return loss({"here": {"output": s.clone()}}, {"here": {"output": t.clone()}}, targets).item()


@pytest.mark.parametrize("standardise", [False, True])
def test_kd(standardise: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    method, batch = tiny.method("kd", {"standardise": standardise, "temperature": 2.5}), tiny.batch(N)
    monkeypatch.setattr(method.backbone, "head", lambda features: S.logits)
    monkeypatch.setattr(method.needs["teacher"].backbone, "head", lambda features: T.logits)
    loss = (theirs.LogitStdKDLoss if standardise else theirs.KDLoss)(*HERE, temperature=2.5, alpha=0.1, beta=0.9)
    expected = other(loss, S.logits, T.logits, batch.y)
    assert sum(method.loss(batch).values()).item() == pytest.approx(expected, rel=1e-5)


def test_dist() -> None:
    loss = theirs.DISTLoss(*HERE, beta=0.5, gamma=2.0, tau=4.0)
    found = ours("dist", {"weight": 1, "beta": 0.5, "gamma": 2.0})
    assert found == pytest.approx(other(loss, S.logits, T.logits), rel=1e-5)


def test_at() -> None:
    where = {"io": "output", "path": "here"}
    loss = theirs.ATLoss({"one": {"student": where, "teacher": where, "weight": 1000}}, mode="code")
    expected = sum(other(loss, s, t) for s, t in zip(S.maps, T.maps, strict=True))
    assert ours("at", {}) == pytest.approx(expected, rel=1e-5)


def test_sp(monkeypatch: pytest.MonkeyPatch) -> None:
    """Theirs (1.1.5) means a dimension and gives `normalize` a norm, the sum of absolute values; the paper's is L2."""
    monkeypatch.setattr(theirs, "normalize", lambda products, dim: F.normalize(products, dim=dim))
    loss = theirs.SPKDLoss("here", "here", reduction="batchmean")
    assert ours("sp", {"weight": 3000}) == pytest.approx(3000 * other(loss, S.maps[-1], T.maps[-1]), rel=1e-4)


def test_rkd() -> None:
    loss = theirs.RKDLoss("here", "here", dist_factor=25.0, angle_factor=50.0, reduction="mean")
    assert ours("rkd", {}) == pytest.approx(other(loss, S.features, T.features), rel=1e-4)


def test_pkt() -> None:
    loss = theirs.PKTLoss(*HERE)
    assert ours("pkt", {"weight": 30_000}) == pytest.approx(30_000 * other(loss, S.features, T.features), rel=1e-4)


@pytest.mark.parametrize("place", range(4))
def test_reviewkds_distance(place: int) -> None:
    s, t = S.maps[place], T.maps[place]
    loss = theirs.HierarchicalContextLoss(*HERE)
    expected = loss({"here": {"output": (s, None)}}, {"here": {"output": t}}).item()
    assert reviewkd.hcl(s, t).item() == pytest.approx(expected, rel=1e-5)


def test_vid() -> None:
    variance = torch.rand(16, generator=torch.Generator().manual_seed(1)) + 0.5
    where = {"io": "output", "path": "here"}
    loss = theirs.VIDLoss({"one": {"student": where, "teacher": where}})
    answer = {"here": {"output": (S.maps[1], variance.view(1, -1, 1, 1))}}
    expected = loss(answer, {"here": {"output": T.maps[1]}}).item()
    assert vid.information(S.maps[1], T.maps[1], variance).item() == pytest.approx(expected, rel=1e-5)


def test_crd() -> None:
    """Two batches, one after the other: the banks move, and the first one's normalisation stays."""
    rows, k = 30, 12
    loss = theirs.CRDLoss("", "", "", 64, rows, k, rows, temperature=0.2)
    banks = [crd.Bank(rows, 64) for _ in range(2)]
    for bank, memory in zip(banks, (loss.memory_v1, loss.memory_v2), strict=True):
        bank.rows.copy_(memory)
    e_s, e_t = (F.normalize(answer.features, dim=1) for answer in (S, T))
    all_of_them = torch.ones(N, k, dtype=torch.bool)
    for start in (0, 3):
        index, chosen = torch.arange(start, start + N), torch.arange(start + 5, start + 5 + k)
        places = torch.cat([index[:, None], chosen.expand(N, k)], dim=1)
        found = [
            bank.contrast(e, index, chosen, all_of_them, 0.2).item() for e, bank in ((e_s, banks[1]), (e_t, banks[0]))
        ]
        for e, bank in ((e_s, banks[0]), (e_t, banks[1])):
            bank.take(e, index, 0.5)
        likely = loss.contrast_memory(e_s, e_t, index, places)
        assert found == pytest.approx([loss.compute_contrast_loss(one).item() for one in likely], rel=1e-4)
        assert torch.allclose(banks[0].rows, loss.memory_v1, atol=1e-5)
        assert torch.allclose(banks[1].rows, loss.memory_v2, atol=1e-5)
