from __future__ import annotations

import pytest
import torch

from dpenet.errors import RecipeError
from dpenet.network import DPENet
from dpenet.training.merging import merge


def test_the_mean_lies_between() -> None:
    a, b = (DPENet(4, 1, 1).state_dict() for _ in range(2))
    merged = merge([a, a, b, b])
    assert merged.keys() == a.keys()
    for key, value in merged.items():
        torch.testing.assert_close(value, torch.lerp(a[key], b[key], 0.5))
    assert all(value.equal(a[key]) for key, value in merge([a]).items())


@pytest.mark.parametrize("other", [(6, 1, 1), (4, 2, 1), (4, 1, 2)])
def test_networks_of_different_sizes_have_no_mean(other: tuple[int, int, int]) -> None:
    for pair in ((other, (4, 1, 1)), ((4, 1, 1), other)):
        with pytest.raises(RecipeError, match="different sizes"):
            merge([DPENet(*size).state_dict() for size in pair])
