"""Make trained weights an embedded model, and measure and show it anew.

    python scripts/embed_weights.py runs/universal/last.safetensors universal photos/manifest.json

What depends on the weights follows: their int8 form, halo, scores, the tables of README and docs,
the plot of accuracy against speed, the gallery. The benchmark pairs must be at hand
(DPENET_TEST_DATA), or the figures would be those of other weights.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from dpenet.zoo.store import embedded_path
from dpenet.zoo.weights import read_weights, write_weights

REPOSITORY = Path(__file__).resolve().parents[1]
LICENCE = "Apache-2.0"


def embed(trained: Path, name: str, manifest: Path) -> None:
    """Write ``zoo/weights/NAME.safetensors`` with what anyone must know of it in its metadata."""
    weights = read_weights(trained)
    photos = [p for p in json.loads(manifest.read_text()) if p["split"] == "train"]
    metadata = {
        "source": "https://pypi.org/project/dpenet",
        "licence": LICENCE,
        "photos": {
            "training": len(photos),
            "licences": dict(Counter(photo["licence"] for photo in photos).most_common()),
            "manifest": "scripts/photos.toml",
        },
        **weights.metadata,
    }
    target = REPOSITORY / "src" / "dpenet" / "zoo" / "weights" / f"{name}.safetensors"
    target.parent.mkdir(exist_ok=True)
    write_weights(target, weights.state, metadata)


def main() -> None:
    """Embed the weights that the arguments name, then redo what depends on them."""
    trained, name, manifest = sys.argv[1:]
    embed(Path(trained), name, Path(manifest))
    form = str(embedded_path(f"{name}.int8"))
    for command in (
        ["-m", "dpenet", "models", "quantize", name, "--output", form],
        # In int8 too, so the form comes first.
        ["-m", "benchmarks.halo", "--model", name],
        ["-m", "benchmarks.quality", "--model", name, "--precision", "fp32,int8"],
        ["-m", "benchmarks.tables"],
        ["-m", "benchmarks.speed_figures"],
        ["scripts/make_gallery.py"],
    ):
        subprocess.run([sys.executable, *command], cwd=REPOSITORY, check=True)


if __name__ == "__main__":
    main()
