from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rain.pictures import grey

from dpenet.errors import UsageError
from dpenet.rain import KINDS, RainKind, render_rain, sample_rain


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_bytes(kind: RainKind) -> None:
    def once() -> bytes:
        rng = np.random.default_rng(7)
        return render_rain(grey(0.4), sample_rain(kind, rng), rng).tobytes()

    assert once() == once()


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    seed=st.integers(0, 2**32),
)
def test_any_size_stays_in_range_and_on_8_bit_levels(
    kind: RainKind, height: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rainy = render_rain(grey(0.5, height, width), sample_rain(kind, rng), rng)
    assert rainy.shape == (height, width, 3)
    assert rainy.dtype == np.float32
    assert rainy.min() >= 0
    assert rainy.max() <= 1
    np.testing.assert_allclose(rainy * 255, np.rint(rainy * 255), atol=1e-3)


def test_heavy_rain_is_heavier_and_has_several_directions() -> None:
    def loss(kind: RainKind) -> float:
        errors = []
        for seed in range(40):
            rng = np.random.default_rng(seed)
            errors.append(np.mean((render_rain(grey(0.4), sample_rain(kind, rng), rng) - 0.4) ** 2))
        return float(np.mean(errors))

    assert loss("heavy") > 3 * loss("light")
    heavies = [sample_rain("heavy", np.random.default_rng(s)) for s in range(200)]
    assert sum(len(rain.layers) >= 2 for rain in heavies) >= 80
    assert max(np.ptp([layer.angle for layer in rain.layers]) for rain in heavies) > 30


def test_a_kind_that_does_not_exist_is_named() -> None:
    with pytest.raises(UsageError, match="heavy"):
        sample_rain("drizzle", np.random.default_rng(0))  # type: ignore[arg-type]
