"""What a step may change, and whether two steps did the same."""

from __future__ import annotations

import pytest
import torch

from lrbench.train.capture.state import near

CPU = torch.device("cpu")


def is_near(found, wanted, start, bound=0.1) -> bool:
    answer = near(found, wanted, start, bound, CPU)
    assert answer.shape == () and answer.dtype == torch.bool
    return bool(answer)


@pytest.mark.parametrize(("off", "same"), [(0.0, True), (0.09, True), (0.11, False), (float("nan"), False)])
def test_values_may_be_off_by_a_part_of_their_way(off, same):
    start, wanted = [torch.tensor([5.0, 5.0]), torch.zeros(2, 2)], [torch.tensor([5.0, 6.0]), torch.zeros(2, 2)]
    assert is_near([torch.tensor([5.0, 6.0 + off]), torch.zeros(2, 2)], wanted, start) is same


def test_what_did_not_move_must_be_equal():
    assert is_near([torch.ones(3)], [torch.ones(3)], [torch.ones(3)])
    assert not is_near([torch.ones(3) + 1e-6], [torch.ones(3)], [torch.ones(3)])
    assert is_near([], [], [])


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.uint8])
def test_what_is_counted_must_be_equal(dtype):
    moved, zero, one = [torch.ones(1000)], torch.tensor([0], dtype=dtype), torch.tensor([1], dtype=dtype)
    assert is_near([*moved, one], [*moved, one], [torch.zeros(1000), zero])
    assert not is_near([*moved, one], [*moved, zero], [torch.zeros(1000), zero])


def test_infinities_may_be_equal_and_complex_numbers_have_two_parts():
    infinite = torch.tensor([float("inf"), 1.0])
    assert is_near([infinite], [infinite.clone()], [infinite.clone()])
    assert is_near([torch.tensor([1j])], [torch.tensor([1j])], [torch.tensor([0j])])
    assert not is_near([torch.tensor([0j])], [torch.tensor([1j])], [torch.tensor([0j])])


def test_other_shapes_are_not_the_same():
    assert not is_near([torch.zeros(2)], [torch.zeros(1, 2)], [torch.zeros(2)])
    assert not is_near([torch.zeros(2)], [torch.zeros(2), torch.zeros(1)], [torch.zeros(2), torch.zeros(1)])
