from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dpenet.cli.app import main
from dpenet.inference import benchmark as library
from dpenet.inference.benchmark import Benchmark, Row

Runner = Callable[..., tuple[int, str, str]]

FOUND = Benchmark(
    model="universal",
    width=640,
    height=480,
    turns=3,
    processor="Abacus 9",
    cores=4,
    threads=None,
    versions={"dpenet": "0"},
    peak_gflops={"fp32": 200.0, "int8": 700.0},
    bandwidth=21.26,
    rows=[
        Row("fp32", "cpu", 1234.5, 0.2488, 41.36, 0.2068, 345_600_000),
        Row("int8", "npu", 99.6, 3.0843, 512.5, None, None),
    ],
    unavailable={"bf16": "it is too old"},
)


@pytest.fixture
def asked() -> dict[str, Any]:
    return {}


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any]
) -> Runner:
    def fake(model: str, tell: Callable[[str], None], **options: Any) -> Benchmark:
        asked.update(options, model=model)
        tell("about 7 s")
        return FOUND

    monkeypatch.setattr(library, "benchmark", fake)

    def run_(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(["benchmark", *map(str, arguments)])
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out, said.err

    return run_


def test_a_table_and_what_limits(run: Runner, asked: dict[str, Any]) -> None:
    code, out, err = run()
    assert code == 0
    assert err == "about 7 s\n"
    header, fp32, int8, bf16, *_ = out.splitlines()
    assert " ".join(header.split()) == "PRECISION DEVICE TIME MPIXEL/S MEMORY GFLOP/S OF PEAK"
    assert fp32.split() == ["fp32", "cpu", "1234", "ms", "0.25", "346", "MB", "41", "21%"]
    assert int8.split() == ["int8", "npu", "100", "ms", "3.08", "?", "512"]
    assert bf16 == "bf16: not available here: it is too old"
    assert "universal, 640 x 480 pixels, median of 3; Abacus 9, all of 4 cores." in out
    assert "200 GFLOP/s in fp32, 700 GFLOP/s in int8, and moves 21.3 GB/s" in out
    assert asked == {
        "model": "universal",
        "size": None,
        "precisions": library.PRECISIONS,
        "device": "auto",
        "threads": None,
    }


def test_json_lines(run: Runner) -> None:
    code, out, _ = run("--json")
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [r["precision"] for r in records] == ["fp32", "int8", "bf16"]
    assert records[0]["milliseconds"] == 1234.5
    assert records[0]["reason"] is None
    assert records[2]["reason"] == "it is too old"
    assert all(r["width"] == 640 and r["model"] == "universal" for r in records)


def test_a_report_file(run: Runner, tmp_path: Path) -> None:
    path = tmp_path / "new" / "speed.json"
    code, _, err = run("--output", path)
    assert code == 0
    assert f"wrote {path}" in err
    record = json.loads(path.read_text())
    assert record["schema"] == 1
    assert record["bandwidth"] == 21.26
    assert record["rows"][1]["peak_memory"] is None


def test_options_reach_the_measurement(run: Runner, asked: dict[str, Any]) -> None:
    code, *_ = run(
        "--size", "1280x720", "-m", "rain100h", "--precision", "int8", "--precision", "bf16",
        "--device", "gpu", "--threads", "2",
    )  # fmt: skip
    assert code == 0
    assert asked == {
        "model": "rain100h",
        "size": (1280, 720),
        "precisions": ["int8", "bf16"],
        "device": "gpu",
        "threads": 2,
    }


@pytest.mark.parametrize("size", ["1280", "0x720", "1280x", "axb", "1280x720x3", "-1x5", "12 x 5"])
def test_what_is_no_size_is_refused(run: Runner, size: str) -> None:
    code, _, err = run(f"--size={size}")
    assert code == 2
    assert f"a size is WIDTHxHEIGHT, such as 1920x1080, not {size!r}" in err


@pytest.mark.slow
def test_really(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["benchmark", "--size", "64x48", "--precision", "fp32", "--json"])
    assert not stop.value.code
    (record,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert record["milliseconds"] > 0
    assert record["peak_memory"] > 1e7
    assert 0 < record["share_of_peak"] < 1.5
