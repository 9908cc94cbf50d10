from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import layers, speed, speed_figures, speed_tables
from benchmarks.speed import Variant
from benchmarks.speed_claims import is_capable, judge

from dpenet.errors import DpenetError
from dpenet.inference.benchmark import noise, operations_per_pixel
from dpenet.zoo import Weights, load_weights
from dpenet.zoo.int8 import find_int8

CAPABLE = ["avx2", "avx512_bf16", "avx512_vnni"]
EAGER = Variant(speed.EAGER, "universal", "fp32", "contiguous_format")
LAST = Variant("PyTorch", "universal", "fp32", "channels_last")
OURS = Variant("dpenet fp32", "universal", "fp32")


def row(model: str, precision: str, width: int, times: float, layout: str | None = None) -> Any:
    return {
        "label": f"dpenet {precision}",
        "model": model,
        "precision": precision,
        "layout": layout,
        "width": width,
        "height": width // 2,
        "milliseconds": 1000 / times,
        "megapixels_per_second": 0.1 * times,
        "gflops": 10.0 * times,
        "share_of_peak": 0.5,
        "times_eager": times,
        "peak_memory": 10**9,
    }


def record(flags: list[str], times: dict[str, float]) -> dict[str, Any]:
    rows = [row("rain100h", "fp32", width, 1, "contiguous_format") for width in (480, 1920)]
    for precision, each in times.items():
        rows += [row("rain100h", precision, 480, each), row("rain100h", precision, 1920, each + 1)]
    rows += [row("universal-light", "int8", width, 20) for width in (480, 1920)]
    rows.append({**row("rain100h", "bf16", 480, 1), "unavailable": "no bf16"})
    sweep = [
        {"megapixels": m, "precision": "fp32", "seconds": m * 1.2, "peak_memory": 10**9}
        for m in (2, 100)
    ]
    return {
        "cpu": {"model": "Abacus", "flags": flags},
        "threads": 2,
        "peaks": {"fp32": 100.0, "memory": 20.0},
        "rows": rows,
        "sweep": {"model": "universal", "memory": "1GB", "rows": sweep},
    }


def verdicts(found: dict[str, Any]) -> list[str]:
    return [claim["verdict"].partition(":")[0] for claim in judge(found)]


def test_claims_hold_at_every_size_or_not() -> None:
    good = record(CAPABLE, {"fp32": 2.2, "bf16": 4.7, "int8": 7.0})
    assert verdicts(good) == ["verified"] * 4
    slow = record(CAPABLE, {"fp32": 2.19, "bf16": 4.69, "int8": 6.9})
    assert verdicts(slow) == ["false", "false", "false", "verified"]
    assert judge(slow)[0]["measured"] == 2.19


def test_another_processor_verifies_no_ratio() -> None:
    found = record(["avx2"], {"fp32": 9, "int8": 9})
    assert verdicts(found) == ["not verified"] * 4
    assert judge(found)[0]["measured"] == 9
    assert "not available" in judge(found)[1]["verdict"]


def test_the_instructions_that_count() -> None:
    assert is_capable(["amx_tile", "amx_bf16", "amx_int8"])
    assert not is_capable(["avx512_bf16"])
    assert not is_capable(["avx512_vnni", "amx_int8"])


def test_rows_are_measured_by_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_memory", lambda *_: 5)
    monkeypatch.setattr(speed, "FULL", "universal")
    absent = Variant("PyTorch bf16", "universal", "bf16", "channels_last")
    monkeypatch.setattr(speed, "cpu", lambda: {"flags": ["avx2"]})
    rows = speed.measure([EAGER, OURS, absent], (48, 32), 3, 1)
    eager, ours, unavailable = rows
    assert "emulate" in unavailable["unavailable"]
    assert "milliseconds" not in unavailable
    work = operations_per_pixel(load_weights("universal").architecture) * 48 * 32
    for each in (eager, ours):
        assert each["spread"][0] <= each["milliseconds"] <= each["spread"][1]
        assert each["gflops"] == pytest.approx(work / each["milliseconds"] / 1e6, rel=0.05)
        assert (each["turns"], each["peak_memory"]) == (3, 5)
    assert eager["times_eager"] == 1
    assert ours["times_eager"] > 0


def test_every_variant_runs_once_at_full_size_before_it_is_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[str, tuple[int, ...]]] = []

    def opened(variant: Variant, threads: int | None) -> speed.Run:
        def run(picture: speed.Picture) -> speed.Picture:
            calls.append((variant.label, picture.shape))
            return picture

        return run

    monkeypatch.setattr(speed, "open_variant", opened)
    monkeypatch.setattr(speed, "_memory", lambda *_: 5)
    for size, turns in (((1000, 600), 3), ((480, 320), 7)):
        calls.clear()
        rows = speed.measure([LAST, OURS], size, None, 1)
        shape = (*size[::-1], 3)
        assert calls == [(LAST.label, shape), (OURS.label, shape)] * (1 + turns)
        assert [row["turns"] for row in rows] == [turns] * 2


def test_all_variants_give_the_same_picture() -> None:
    picture = noise(40, 30)
    ours, eager, last = (
        speed.open_variant(variant, 1)(picture).astype(int) for variant in (OURS, EAGER, LAST)
    )
    for other in (eager, last):
        assert other.shape == picture.shape
        assert np.abs(ours - other).max() <= 1
        assert np.mean(ours != other) < 1e-3
    assert np.abs(ours - picture).mean() > 1


def test_a_model_that_is_not_there_is_an_error() -> None:
    with pytest.raises(DpenetError):
        speed.open_variant(Variant("dpenet fp32", "absent", "fp32"), 1)


def test_the_sweep_leaves_out_what_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    pace = {"precision": "fp32", "peak_memory": 1}
    monkeypatch.setattr(
        speed, "_in_child", lambda kind, size, threads: {"seconds": 9 * size, **pace}
    )
    assert [each["megapixels"] for each in speed._sweep(None, 1)] == [0.25, 0.5, 1, 2, 4]
    assert [each["megapixels"] for each in speed._sweep([50], 1)] == [50]


@pytest.mark.slow
def test_a_child_measures_memory_and_the_sweep() -> None:
    found = speed._in_child(kind="memory", variant=OURS, size=(64, 48), threads=1)
    assert 5e7 < found["peak_memory"] < 4e8
    with_torch = speed._in_child(kind="memory", variant=EAGER, size=(64, 48), threads=1)
    assert with_torch["peak_memory"] > found["peak_memory"]
    swept = speed._in_child(kind="sweep", size=0.02, threads=1)
    assert swept["seconds"] > 0
    assert swept["peak_memory"] < 1e9


def test_the_figures_show_every_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = [
        {"model": m, "dataset": d, "precision": p, "protocol": "matlab-y", "psnr": 30 + len(p)}
        for m, d in (*speed_figures.PUBLISHED, ("universal", "Rain100H"))
        for p in ("fp32", "int8")
    ]
    (tmp_path / "quality.json").write_text(json.dumps({"rows": scores}))
    monkeypatch.setattr(speed_figures, "RESULTS", tmp_path)
    speed_figures.draw(record(CAPABLE, {"fp32": 2, "int8": 7}), tmp_path)
    assert {path.name for path in tmp_path.glob("*.svg")} == {
        "speed-time.svg",
        "speed-memory.svg",
        "speed-accuracy.svg",
    }
    drawn = (tmp_path / "speed-time.svg").read_text()
    for label in ("PyTorch, eager fp32", "dpenet int8", "universal, dpenet fp32, memory 1GB"):
        assert label in drawn
    assert "dpenet bf16" not in drawn  # it is not available
    assert "published checkpoints" in (tmp_path / "speed-accuracy.svg").read_text()
    for path in tmp_path.glob("*.svg"):
        assert path.stat().st_size < 200_000
        ET.parse(path)


def test_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = record(["avx2"], {"fp32": 2.0, "int8": 3.0})
    found["claims"] = judge(found)
    (tmp_path / "speed.json").write_text(json.dumps(found))
    scores = [
        {"model": m, "dataset": d, "precision": p, "protocol": "matlab-y", "psnr": 30 - lost}
        for (m, d), each in zip(speed_figures.PUBLISHED, (0.25, 0.05), strict=True)
        for p, lost in (("fp32", 0), ("int8", each))
    ]
    (tmp_path / "quality.json").write_text(json.dumps({"rows": scores}))
    large = {"model": "universal", "precision": "fp32", "width": 10_000, "height": 10_000}
    large |= {"peak_bytes": 15 * 10**8, "cpu_ratio_to_2_megapixels": 1.2, "differing": 0}
    worse = [large | {"peak_bytes": 2 * 10**9}, large | {"cpu_ratio_to_2_megapixels": 1.4}]
    worse.append(large | {"differing": 1})
    complete = {"differing": 0, "compared": 99, "tiles": [2, 3]}
    worse.append(large | {"complete": complete | {"differing": 1}})
    rows = [large, large | {"complete": complete}, *worse]
    (tmp_path / "large.json").write_text(json.dumps({"rows": rows}))
    (tmp_path / "folder.json").write_text(json.dumps({"rows": []}))
    monkeypatch.setattr(speed_tables, "RESULTS", tmp_path)
    speeds = speed_tables.speed_table()
    assert "| dpenet int8 | `rain100h` | 333 | 0.300 | 1.00 GB | 30.0 | 50% | 3.00 |" in speeds
    assert "| dpenet bf16 | `rain100h` | not available here |" in speeds
    assert speeds.startswith("Abacus, 2 cores (avx2). Measured peaks: 100 GFLOP/s fp32, 20 GB/s")
    claims = speed_tables.claims_table()
    assert "2.00 times | not verified: AVX512" in claims
    assert "int8 scores at most 0.10 dB below fp32" in claims
    assert "| -0.150 dB | false |" in claims
    assert (
        "bf16 scores at most 0.05 dB below fp32, mean of both benchmark halves |  | not" in claims
    )
    judged = [line.split(" | ")[2] for line in claims.splitlines() if "100 megapixels" in line]
    assert judged == ["not verified: only corners compared |", "verified |", *["false |"] * 4]


def folder_row(pictures: int, share: float) -> dict[str, Any]:
    return speed_tables.FOLDER | {"pictures": pictures, "share": share}


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ([], "not verified: not measured"),
        ([folder_row(2000, 0.99) | {"model": "universal"}], "not verified: not measured"),
        ([folder_row(1000, 0.9)], "not verified: 1,000 pictures"),
        ([folder_row(2000, 0.85)], "verified"),
        ([folder_row(2000, 0.849)], "false"),
    ],
)
def test_the_claim_of_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]], verdict: str
) -> None:
    (tmp_path / "folder.json").write_text(json.dumps({"rows": rows}))
    monkeypatch.setattr(speed_tables, "RESULTS", tmp_path)
    claim, _, judged = speed_tables._folder_claim()
    assert "a folder of 2,000 pictures of 128 x 128, `universal-light` in int8" in claim
    assert judged == verdict


def layers_record() -> dict[str, Any]:
    wide = [f"convolutions 3x3, dilation {dilation}" for dilation in (1, 2, 5)]
    fp32 = dict(zip(wide, (100.0, 100.0, 150.0), strict=True)) | {layers.SUMS: 50.0}
    return {
        "cpu": {"model": "Abacus", "flags": ["avx2"]},
        "threads": 2,
        "model": "rain100h",
        "width": 20,
        "height": 10,
        "peaks": {"fp32": 200.0, "memory": 20.0},
        "gigaoperations": dict.fromkeys(wide, 15.0),
        "milliseconds": {
            "PyTorch fp32, eager": {kind: 2 * ms for kind, ms in fp32.items()},
            "dpenet fp32": fp32,
        },
    }


def test_the_table_of_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed_tables, "RESULTS", tmp_path)
    assert speed_tables.layers_table() == speed_tables.NOT_YET
    assert speed_tables.dilation_sentence() == speed_tables.NOT_YET
    assert speed_tables.balance_sentence() == speed_tables.NOT_YET
    found = layers_record()
    (tmp_path / "layers.json").write_text(json.dumps(found))
    table = speed_tables.layers_table()
    one = "| convolutions 3x3, dilation 1 | 200 ms (25%) | 100 ms (25%) | 150 | 75% |"
    assert f"{one}  |  |  |" in table
    assert "| **all** | **800 ms** | **400 ms** | **112** | **56%** | not measured |  |  |" in table
    found["peaks"]["int8"] = 400.0
    found["gigaoperations_int8"] = found["gigaoperations"] | {"convolutions 3x3, dilation 1": 10.0}
    kinds = dict(zip(found["gigaoperations"], (50.0, 60.0, 90.0), strict=True))
    kinds |= {layers.LEFT: 30.0, layers.ROUNDING: 20.0}
    found["milliseconds"]["dpenet int8"] = kinds
    (tmp_path / "layers.json").write_text(json.dumps(found))
    table = speed_tables.layers_table()
    assert f"{one} 50 ms (20%) | 200 | 50% |" in table
    assert f"| {layers.LEFT} |  |  |  |  | 30 ms (12%) |  |  |" in table
    assert "| **112** | **56%** | **250 ms** | **180** | **45%** |" in table
    assert (
        "1.50 times (PyTorch fp32, eager), 1.50 times (dpenet fp32), 1.20 times (dpenet int8) as"
        in speed_tables.dilation_sentence()
    )
    balance = speed_tables.balance_sentence()
    assert "32 channels does 72 operations" in balance
    assert "at its peak 10 in the time" in balance


def test_layers_of_both_engines_are_of_the_same_kinds() -> None:
    weights = load_weights("universal")
    form = find_int8(weights)
    x = np.zeros((1, 3, 32, 48), np.float32)
    kinds: list[set[str]] = []
    for run in (
        layers.eager(weights, x),
        layers.ours(weights, x, 1),
        layers.ours(weights, x, 1, form),
    ):
        times = run()
        assert all(value >= 0 for value in times.values())
        assert (times.get(layers.ROUNDING, 0) > 0) == (len(kinds) == 2)
        kinds.append({kind for kind in times if kind.startswith("convolutions")})
    assert kinds[0] == kinds[1] == kinds[2] - {layers.LEFT}
    assert layers.LEFT in kinds[2]
    assert {f"convolutions 3x3, dilation {d}" for d in (1, 2, 5)} < kinds[0]


def test_operations_by_kind_add_up() -> None:
    weights: Weights = load_weights("universal")
    shape = weights.architecture
    folded = shape.n_erpab * 2 * 3 * shape.width**2
    expected = operations_per_pixel(shape) - folded
    kinds = layers.gigaoperations(weights, 10**9)
    assert sum(kinds.values()) == pytest.approx(expected)
    pair = 2 * 9 * shape.width**2
    dilated = pair * (2 * shape.n_ddrb + shape.n_erpab)
    assert kinds["convolutions 3x3, dilation 5"] == pytest.approx(dilated)
    form = find_int8(weights)
    assert form is not None
    eight = layers.gigaoperations(weights, 10**9, form)
    assert sum(eight.values()) == pytest.approx(pair * len(form.convolutions))
    left = kinds["convolutions 3x3, dilation 1"] - eight["convolutions 3x3, dilation 1"]
    assert left == pytest.approx(2 * pair)
