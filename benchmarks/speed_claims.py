"""What issue and README claim of the speed, held against what was measured."""

from __future__ import annotations

from typing import Any

# Times eager PyTorch in fp32, at every size, with a checkpoint of the full network.
TIMES_EAGER = {"fp32": 2.2, "bf16": 4.7, "int8": 7.0}
LIGHT_TIMES_FULL = 1.7
NEEDED = "AVX512-BF16 with VNNI, or AMX, needed"


def judge(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Each claim with what was measured: verified, false, or not verified on this processor."""
    ours = {
        (row["model"], row["precision"], row["width"]): row
        for row in record["rows"]
        if row["layout"] is None and "unavailable" not in row
    }
    widths = sorted({row["width"] for row in record["rows"]})
    full = record["rows"][0]["model"]
    claims = []
    for precision, least in TIMES_EAGER.items():
        ratios = [
            row["times_eager"]
            for width in widths
            if (row := ours.get((full, precision, width))) and "times_eager" in row
        ]
        claims.append(_ratio(f"{precision} is {least:g} times eager fp32", ratios, least, record))
    light = [
        ours[full, "int8", width]["milliseconds"] / row["milliseconds"]
        for width in widths
        if (row := ours.get(("universal-light", "int8", width))) and (full, "int8", width) in ours
    ]
    claim = f"universal-light int8 is {LIGHT_TIMES_FULL} times the full int8"
    claims.append(_ratio(claim, light, LIGHT_TIMES_FULL, record))
    return claims


def is_capable(flags: list[str]) -> bool:
    """Whether a processor has the instructions that the claims are made for."""
    return {"avx512_bf16", "avx512_vnni"} <= set(flags) or {"amx_bf16", "amx_int8"} <= set(flags)


def _ratio(claim: str, ratios: list[float], least: float, record: dict[str, Any]) -> dict[str, Any]:
    if not ratios:
        return {"claim": claim, "verdict": "not verified: not available here"}
    found = {"claim": claim, "measured": round(min(ratios), 3)}
    if not is_capable(record["cpu"]["flags"]):
        return found | {"verdict": f"not verified: {NEEDED}"}
    return found | {"verdict": "verified" if min(ratios) >= least else "false"}
