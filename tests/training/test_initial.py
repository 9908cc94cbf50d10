from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dpenet.errors import RecipeError
from dpenet.network import DPENet
from dpenet.training.config import Model
from dpenet.training.initial import make_network
from dpenet.zoo.weights import read_weights, write_weights


def test_a_network_starts_from_other_weights(tmp_path: Path) -> None:
    network = DPENet(width=4, n_ddrb=2, n_erpab=1)
    state = {k: v.numpy() for k, v in network.state_dict().items()}
    path = tmp_path / "start.safetensors"
    write_weights(path, state, {})
    started = make_network(Model(init=str(path)), seed=0)
    assert started.n_ddrb == 2
    assert all(v.equal(network.state_dict()[k]) for k, v in started.state_dict().items())
    with pytest.raises(RecipeError, match=r"model\.width is 3, but .* has 4"):
        make_network(Model(init=str(path), width=3), seed=0)


def test_a_network_grows_from_smaller_weights(tmp_path: Path) -> None:
    small = DPENet(width=4, n_ddrb=2, n_erpab=1)
    path = tmp_path / "small.safetensors"
    write_weights(path, {k: v.numpy() for k, v in small.state_dict().items()}, {})
    grown = make_network(Model(init=str(path), width=6, n_ddrb=3), seed=0)
    assert (grown.width, grown.n_ddrb, grown.n_erpab) == (6, 3, 1)
    x = torch.rand(1, 3, 24, 24)
    with torch.no_grad():
        torch.testing.assert_close(grown(x).stage2, small(x).stage2, atol=1e-5, rtol=0)


def test_a_network_starts_from_the_mean_of_several(tmp_path: Path) -> None:
    def written(name: str, width: int) -> Path:
        state = DPENet(width=width, n_ddrb=2, n_erpab=1).state_dict()
        write_weights(tmp_path / name, {k: v.numpy() for k, v in state.items()}, {})
        return tmp_path / name

    paths = [written("a.safetensors", 4), written("b.safetensors", 4)]
    started = make_network(Model(init=tuple(map(str, paths))), seed=0).state_dict()
    a, b = (read_weights(path).state for path in paths)
    for key, value in started.items():
        np.testing.assert_allclose(value.numpy(), (a[key] + b[key]) / 2, atol=1e-7)
    with pytest.raises(RecipeError, match="different sizes"):
        make_network(Model(init=(str(paths[0]), str(written("c.safetensors", 6)))), seed=0)
    with pytest.raises(ValueError, match="at least 1"):
        Model(init=())


def test_small_output_weights_start_near_the_identity() -> None:
    x = torch.rand(1, 3, 24, 24)
    far, near = (
        make_network(Model(width=8, n_ddrb=2, n_erpab=1, output_scale=scale), seed=1)
        for scale in (1.0, 0.0)
    )
    with torch.no_grad():
        assert near(x).stage2.equal(x)
        assert not far(x).stage2.equal(x)
    assert far.ddrb1.dconv1[0].weight.equal(near.ddrb1.dconv1[0].weight)  # type: ignore[union-attr, index]


def test_a_network_is_pruned_from_a_deeper_one_and_grown_wider(tmp_path: Path) -> None:
    deep = DPENet(width=4, n_ddrb=3, n_erpab=2)
    with torch.no_grad():
        for pair in ("dconv1", "dconv2", "dconv5"):
            deep.get_submodule(f"ddrb2.{pair}.2").weight.zero_()  # type: ignore[operator]
    path = tmp_path / "deep.safetensors"
    write_weights(path, {k: v.numpy() for k, v in deep.state_dict().items()}, {})
    picture = torch.rand(3, 24, 24)
    model = Model(init=str(path), width=5, n_ddrb=2)
    started = make_network(model, 0, lambda: [picture])
    assert (started.width, started.n_ddrb, started.n_erpab) == (5, 2, 2)
    with torch.no_grad():
        before, after = deep(picture[None]).stage2, started(picture[None]).stage2
    torch.testing.assert_close(after, before, atol=1e-5, rtol=0)
    resumed = make_network(model, 0)
    assert {k: v.shape for k, v in resumed.state_dict().items()} == {
        k: v.shape for k, v in started.state_dict().items()
    }
