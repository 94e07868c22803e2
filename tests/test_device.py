"""The device that trains."""

from __future__ import annotations

import pytest
import torch

from lrbench import device
from lrbench.errors import UserError


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were one; nothing touches it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for switch in ("benchmark", "allow_tf32"):
        monkeypatch.setattr(torch.backends.cudnn, switch, getattr(torch.backends.cudnn, switch))


@pytest.mark.parametrize(("name", "index"), [("auto", 0), ("cuda", 0), ("cuda:0", 0), ("cuda:3", 3)])
def test_a_cuda_device_has_its_index(cuda, name, index):
    """Without one it is unequal to its tensors' device, and torch.cuda.set_device refuses it."""
    picked = device.pick(name)
    assert (picked.type, picked.index) == ("cuda", index)
    assert torch.cuda._utils._get_device_index(picked) == index


def test_without_cuda_it_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.pick("auto") == device.pick("cpu") == device.enter(torch.device("cpu")) == torch.device("cpu")
    with pytest.raises(UserError, match="use --device cpu or auto"):
        device.pick("cuda")
