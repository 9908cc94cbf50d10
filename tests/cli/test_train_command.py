from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpenet.cli.app import main
from dpenet.zoo import load_weights

RECIPE = """
output: run
data: {photos: photos, patch: 16, batch: 2, workers: 0}
model: {width: 4, n_ddrb: 1, n_erpab: 1}
validation: {share: 0.3, crop: 32, every: 3}
schedule: {name: cosine}
steps: 4
log_every: 2
checkpoint_every: 2
"""


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with photos and a recipe."""
    (tmp_path / "photos").mkdir()
    for i in range(5):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        coarse.resize((40, 34)).save(tmp_path / "photos" / f"{i}.png")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["train", *arguments])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def test_a_recipe_becomes_weights(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("recipe.yaml", "--set", "model.width=5") == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "step 2 of 4  loss " in err
    assert "validation (matlab-y): " in err
    assert "use them with --model run/best.safetensors" in err
    best = folder / "run" / "best.safetensors"
    assert load_weights(best).architecture.width == 5
    with pytest.raises(SystemExit) as stop:
        main(["derain", "photos/0.png", "--model", str(best), "-o", "out"])
    assert stop.value.code == 0
    assert (folder / "out" / "0.png").exists()
    capsys.readouterr()

    assert run("recipe.yaml", "--set", "model.width=5") == 1
    assert "holds a training already" in capsys.readouterr().err
    assert run("recipe.yaml", "--set", "model.width=5", "--set", "steps=6", "--resume") == 0
    assert "step 6 of 6" in capsys.readouterr().err


def test_json_is_one_record_per_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("recipe.yaml", "--json") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(r["step"], bool(r["scores"])) for r in records] == [
        (2, False),
        (3, True),
        (4, False),
        (4, True),
    ]
    assert all(r["steps"] == 4 for r in records)
    assert records[0]["images_per_second"] > 0
    assert records[-1]["scores"]["protocol"] == "matlab-y"


def test_a_terminal_gets_a_bar(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert run("recipe.yaml") == 0
    err = capsys.readouterr().err
    assert err.count("validation (matlab-y)") >= 2
    assert "use them with --model" in err


def test_a_typo_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("recipe.yaml", "--set", "data.ptach=16") == 1
    assert "no key 'ptach' here; did you mean 'patch'" in capsys.readouterr().err
    assert not (folder / "run").exists()


def test_ctrl_c_exits_130_with_a_checkpoint(folder: Path) -> None:
    program = (
        "import os, signal; import dpenet.cli.train as t; old = t.describe;"
        "t.describe = lambda s: (os.kill(os.getpid(), signal.SIGINT), old(s))[1];"
        "from dpenet.cli.app import main; main(['train', 'recipe.yaml'])"
    )
    source = Path(__file__).resolve().parents[2] / "src"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert "stopped after step 2 of 4; --resume goes on from there" in done.stderr
    assert (folder / "run" / "last.ckpt").exists()


def test_without_torch_the_extra_is_named(folder: Path) -> None:
    source = Path(__file__).resolve().parents[2] / "src"
    blocked = "import sys; sys.modules['torch'] = None; from dpenet.cli.app import main;"
    done = subprocess.run(
        [sys.executable, "-c", blocked + "main(['train', 'recipe.yaml'])"],
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "pip install 'dpenet[train]'" in done.stderr
