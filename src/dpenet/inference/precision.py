"""In which precision a device computes a model, and what ``auto`` means."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import NamedTuple

from dpenet.errors import ModelError, UsageError
from dpenet.inference.calibration import MADE_UP
from dpenet.zoo import Weights, load_weights
from dpenet.zoo.int8 import Int8, find_int8
from dpenet.zoo.table import MODELS, Score

MOST_LOST = 0.05
"""What ``auto`` may lose against fp32, in dB of PSNR, on every data set measured."""

_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


class Plan(NamedTuple):
    """How OpenVINO is to compute.

    Attributes:
        hint: The value of INFERENCE_PRECISION_HINT; None leaves the device its own format.
        int8: What to compute in int8; None for nothing.
    """

    hint: str | None
    int8: Int8 | None = None


def plan(precision: str, device: str, capabilities: Collection[str], weights: Weights) -> Plan:
    """Choose the arithmetic for a model on a device of OpenVINO's.

    Args:
        precision: As in `Options`.
        device: OpenVINO's name of it.
        capabilities: Its OPTIMIZATION_CAPABILITIES.
        weights: Of the model.

    Raises:
        UsageError: If the device lacks the precision, or the model has no int8 form.
        ModelError: If the int8 form is damaged.
    """
    if precision not in ("auto", "fp32") and precision.upper() not in capabilities:
        raise UsageError(
            f"device {device.lower()} has no {precision} arithmetic; use precision fp32 or auto"
        )
    on_processor = device == "CPU"
    bf16 = "BF16" in capabilities
    # Without a hint OpenVINO may choose less than fp32 on its own, on the processor too.
    rest = _HINTS["bf16" if bf16 else "fp32"] if on_processor or bf16 else None
    if precision == "int8":
        form = find_int8(weights)
        if form is None:
            raise UsageError(
                f"{weights.name} has no int8 form of these weights here; make one with: "
                f"dpenet models quantize {weights.name}"
            )
        return Plan(rest, form)
    if precision != "auto":
        return Plan(_HINTS[precision])
    # The scores are the processor's, with all but the convolutions in fp32: another device, or
    # another rest, rounds in its own way.
    if on_processor and "INT8" in capabilities and (form := find_int8(weights)) is not None:
        loss = lost(scores_of(weights, form), "int8")
        if loss is not None and loss <= MOST_LOST:
            return Plan(_HINTS["fp32"], form)
    if bf16:
        loss = lost(scores_of(weights), "bf16")
        if loss is not None and loss > MOST_LOST:
            return Plan(_HINTS["fp32"])
    return Plan(rest)


def lost(scores: Sequence[Score], precision: str) -> float | None:
    """How much lower than fp32 a precision scores at most, in dB; None where not measured.

    Args:
        scores: Of one model.
        precision: Such as ``int8``.
    """
    full = {(s.dataset, s.protocol): s.psnr for s in scores if s.precision == "fp32"}
    drops = [
        full[s.dataset, s.protocol] - s.psnr
        for s in scores
        if s.precision == precision and (s.dataset, s.protocol) in full
    ]
    return max(drops, default=None)


def scores_of(weights: Weights, form: Int8 | None = None) -> tuple[Score, ...]:
    """What the table says of these very weights; nothing of others under the same name.

    Args:
        weights: Of the model.
        form: The int8 form in use. Of one that was calibrated otherwise, the table says nothing.
    """
    card = MODELS.get(weights.name)
    if card is None or not card.scores or (form is not None and form.calibration != MADE_UP):
        return ()
    with suppress(ModelError):
        if load_weights(weights.name).digest == weights.digest:
            return card.scores
    return ()
