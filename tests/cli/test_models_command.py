from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dpenet.cli.app import main
from dpenet.zoo import Architecture, list_models
from dpenet.zoo.int8 import read_int8
from dpenet.zoo.table import MODELS, Score
from dpenet.zoo.weights import write_weights


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("DPENET_HOME", str(folder))
    return folder


@pytest.fixture
def mine(tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "mine.safetensors"
    shapes = Architecture(2, 1, 1).shapes().items()
    write_weights(path, {key: rng.normal(size=shape) for key, shape in shapes}, {})
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["models", *arguments])
    assert isinstance(stop.value.code, int)
    return (stop.value.code, *capsys.readouterr())


def test_list_fits_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, mine: Path
) -> None:
    run(capsys, "import", str(mine), "--name", "dashcam")
    scores = tuple(
        Score(dataset, protocol, 30.126, 0.9, 50, "fp32")
        for dataset in ("Rain100H", "Rain100L", "Rain1200_samples")
        for protocol in ("matlab-y", "rgb")
    )
    monkeypatch.setitem(MODELS, "rain100h", replace(MODELS["rain100h"], scores=scores))
    code, out, err = run(capsys, "list")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].endswith("TRAINED ON  Rain100H  Rain100L  Rain1200_samples")
    rows = {line.split()[0]: line for line in lines[1:10] if line}
    assert [*list_models(), "dashcam"] == [name for name in rows if name not in ("Mean", "Before")]
    assert rows["rain100h"].endswith("Rain100H    30.13     30.13     30.13")
    assert "imported" in rows["dashcam"]
    assert "matlab-y" in out


def test_list_on_a_terminal() -> None:
    pty = pytest.importorskip("pty", reason="terminals are POSIX")
    import os

    leader, follower = pty.openpty()
    environment = os.environ | {"COLUMNS": "80", "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-m", "dpenet", "models", "list"], stdout=follower, env=environment
    )
    os.close(follower)
    shown = b""
    try:
        while part := os.read(leader, 4096):
            shown += part
    except OSError:  # Linux: the other end is closed
        pass
    os.close(leader)
    assert process.wait() == 0
    text = shown.decode()
    assert "\x1b[1m" in text
    assert all(name in text for name in list_models())


def test_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "list", "--json")
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [record["name"] for record in records] == list_models()
    for record in records:
        assert record.keys() >= {
            *("title", "state", "path", "source", "commit", "url", "sha256", "licence", "note"),
            *("trained_on", "scores", "parameters", "receptive_field", "architecture"),
        }
    assert records[0]["state"] == "embedded"
    assert records[-1]["state"] == "not fetched"
    assert all(bool(record["path"]) == (record["state"] == "embedded") for record in records)


def test_show(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "show", "rain1400")
    card = MODELS["rain1400"]
    assert code == 0
    flat = " ".join(out.split())
    for fact in (card.url, card.commit, card.sha256, card.licence, card.note, "647328", "181"):
        assert str(fact) in flat
    code, out, _ = run(capsys, "show", "rain1400", "--json")
    assert json.loads(out)["sha256"] == card.sha256


def test_import_show_and_path(capsys: pytest.CaptureFixture[str], mine: Path, home: Path) -> None:
    code, out, _ = run(capsys, "import", str(mine), "--name", "dashcam", "--json")
    kept = home / "models" / "dashcam.safetensors"
    digest = hashlib.sha256(kept.read_bytes()).hexdigest()
    assert code == 0
    assert json.loads(out) == {"name": "dashcam", "path": str(kept), "sha256": digest}
    assert run(capsys, "path", "dashcam") == (0, f"{kept}\n", "")
    assert json.loads(run(capsys, "path", "dashcam", "--json")[1])["path"] == str(kept)
    assert digest in run(capsys, "show", "dashcam")[1]


def test_fetch_of_what_is_here_needs_no_network(
    capsys: pytest.CaptureFixture[str], shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in ("Rain100H", "Rain800"):
        run(capsys, "import", str(shared / "reference" / "weights" / f"{file}.pth"))

    def no_network(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    code, out, err = run(capsys, "fetch", "rain100h", "rain800")
    assert code == 0
    assert [line.split(":")[0] for line in out.splitlines()] == ["rain100h", "rain800"]
    assert "do not redistribute" in err
    code, out, _ = run(capsys, "fetch", "rain100h", "--json")
    assert json.loads(out)["sha256"] == MODELS["rain100h"].sha256
    state = json.loads(run(capsys, "show", "rain100h", "--json")[1])["state"]
    assert state == "fetched"


def test_quantize(
    capsys: pytest.CaptureFixture[str], mine: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpenet.inference.calibration.SCENES", 2)
    run(capsys, "import", str(mine), "--name", "dashcam")
    assert "not here; to make it: dpenet models quantize dashcam" in " ".join(
        run(capsys, "show", "dashcam")[1].split()
    )
    assert json.loads(run(capsys, "show", "dashcam", "--json")[1])["int8"] is None
    code, out, _ = run(capsys, "quantize", "dashcam", "--json")
    [made] = (home / "int8").iterdir()
    record = json.loads(out)
    assert code == 0
    assert record["path"] == str(made)
    assert record["sha256"] == hashlib.sha256(made.read_bytes()).hexdigest()
    shown = json.loads(run(capsys, "show", "dashcam", "--json")[1])["int8"]
    assert shown == {"calibration": "made-up scenes", "lost": None}
    assert "(loss not measured)" in " ".join(run(capsys, "show", "dashcam")[1].split())
    assert "dashcam (loss not measured)" in run(capsys, "list")[1]


def test_quantize_for_photos_into_a_file(
    capsys: pytest.CaptureFixture[str],
    mine: Path,
    home: Path,
    tmp_path: Path,
    photo: NDArray[np.uint8],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dpenet.inference.calibration.SCENES", 2)
    photos, target = tmp_path / "photos", tmp_path / "deep" / "x.int8.safetensors"
    photos.mkdir()
    arguments = ("quantize", str(mine), "--photos", str(photos), "--output", str(target))
    code, _, err = run(capsys, *arguments)
    assert (code, err) == (2, f"dpenet: there are no pictures in {photos}\n")
    for name in "abc":
        Image.fromarray(photo).save(photos / f"{name}.png")
    assert run(capsys, *arguments) == (0, f"mine: {target}\n", "")
    assert read_int8(target).calibration == "made-up scenes, 2 photos"
    assert not (home / "int8").exists()


def test_what_int8_loses_is_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = tuple(
        Score("Rain100H", "matlab-y", psnr, 0.9, 50, precision)
        for precision, psnr in (("fp32", 30.0), ("int8", 29.97))
    )
    monkeypatch.setitem(MODELS, "universal", replace(MODELS["universal"], scores=scores))
    assert "universal (0.03 dB lost)" in run(capsys, "list")[1]
    shown = json.loads(run(capsys, "show", "universal", "--json")[1])["int8"]
    assert shown["lost"] == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["path", "rain100h"], 1, "run: dpenet models fetch rain100h"),
        (["show", "rain10h"], 1, "did you mean rain100h"),
        (["fetch", "rain10h"], 1, "did you mean rain100h"),
        (["fetch", "rain100l"], 1, "cannot fetch rain100l"),
        (["import", "none.pth"], 1, "none.pth"),
        (["quantize", "rain100l"], 1, "run: dpenet models fetch rain100l"),
        (["import", "MINE"], 2, "give it a name"),
        (["import", "MINE", "--name", "a b"], 2, "is no name"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(
    arguments: list[str],
    code: int,
    reason: str,
    mine: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("DPENET_MODEL_URL", f"http://127.0.0.1:{probe.getsockname()[1]}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        arguments = [str(mine) if argument == "MINE" else argument for argument in arguments]
        found, out, err = run(capsys, *arguments)
    assert (found, out) == (code, "")
    assert err.startswith("dpenet: ")
    assert reason in err
    assert err.count("\n") == 1


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from dpenet.cli import models; "
        "print([m for m in ('numpy', 'torch', 'openvino', 'requests') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
