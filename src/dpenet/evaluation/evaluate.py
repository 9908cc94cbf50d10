"""PSNR and SSIM of models, and of other tools' results, over a data set."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpenet.data.layouts import AUTO, list_pairs, list_pictures
from dpenet.data.pairs import Pair, load_pair, read_rgb
from dpenet.errors import DataError, DpenetError, UsageError
from dpenet.metrics import DEFAULT_PROTOCOL, Score, get_protocol, mean_score, score

INPUT = "input"  # the name of the baseline: the rainy picture itself


@dataclass(frozen=True)
class Method:
    """Something that removes rain.

    Attributes:
        name: What tables call it.
        run: From the picture's name and its rainy pixels, (H, W, 3) uint8, to the derained ones.
        precision: Number format it computes in; None where that is not known.
    """

    name: str
    run: Callable[[str, NDArray[np.uint8]], NDArray[np.uint8]]
    precision: str | None = None


def model_method(model: str | Path, precision: str = "auto", threads: int | None = None) -> Method:
    """A model of ours, by name or path of its weights; see `dpenet.inference.options`."""
    from dpenet.inference.derainer import Derainer

    derainer = Derainer(model, precision=precision, threads=threads)
    return Method(
        derainer.weights.name, lambda _, rainy: derainer.derain_pixels(rainy), derainer.precision
    )


def results_method(folder: Path, names: Sequence[str]) -> Method:
    """The pictures that another tool has made, paired by name with those of a data set.

    Args:
        folder: Result files; one named like the rainy picture, whatever its extension, for each.
        names: The names to find (``Pair.name``).

    Raises:
        DataError: If pictures are missing or two bear one name. A mean over fewer pictures would
            not compare with one over all.
    """
    files: dict[str, Path] = {}
    for file in list_pictures(folder):
        key = file.relative_to(folder).with_suffix("").as_posix()
        if key in files:
            raise DataError(f"two results of one name: {files[key]} and {file}")
        files[key] = file
    missing = [name for name in names if name not in files]
    if missing:
        raise DataError(
            f"{folder} has no result for {len(missing)} of {len(names)} pictures, such as "
            f"{missing[0]!r}; it has {len(files)} pictures"
            + (f", such as {next(iter(files.values())).name!r}" if files else "")
        )
    return Method(folder.resolve().name, lambda name, _: read_rgb(files[name]))


class Row(NamedTuple):
    """One picture by one method; ``error`` is None when there is a score."""

    picture: str
    method: str
    score: Score | None
    seconds: float = 0.0
    error: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        dataset: The data set's folder.
        layout: Its layout.
        protocol: Name of the metric protocol.
        methods: Names, the baseline ``input`` first.
        precisions: By method; None where not known.
        rows: Every picture by every method.
        pairs: The data, to show examples.
    """

    dataset: str
    layout: str
    protocol: str
    methods: tuple[str, ...]
    precisions: dict[str, str | None]
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...] = field(repr=False, default=())

    def scores(self, method: str) -> dict[str, Score]:
        """Scores by picture, failed ones left out."""
        return {r.picture: r.score for r in self.rows if r.method == method and r.score}

    def mean(self, method: str) -> Score:
        """Mean over the pictures that were scored; NaN if none was."""
        scores = list(self.scores(method).values())
        return mean_score(scores) if scores else Score(math.nan, math.nan)

    def gains(self, method: str) -> dict[str, float]:
        """PSNR over that of the rainy input, in dB, by picture, worst first."""
        before = self.scores(INPUT)
        gains = {
            name: after.psnr - before[name].psnr
            for name, after in self.scores(method).items()
            if name in before and math.isfinite(before[name].psnr)
        }
        return dict(sorted(gains.items(), key=lambda item: item[1]))

    def seconds(self, method: str) -> float:
        """Mean time per picture; 0 where nothing was computed."""
        times = [r.seconds for r in self.rows if r.method == method and r.score]
        return math.fsum(times) / len(times) if times else 0.0

    @property
    def failures(self) -> list[Row]:
        return [row for row in self.rows if row.error]

    def summary(self, method: str) -> dict[str, Any]:
        """One JSON-ready record: the means of a method. An infinite PSNR is null."""
        scores = self.scores(method)
        mean = self.mean(method)
        return {
            "method": method,
            "psnr": _finite(mean.psnr),
            "ssim": _finite(mean.ssim),
            "gain": _finite(mean.psnr - self.mean(INPUT).psnr),
            "pairs": len(scores),
            "identical": sum(math.isinf(s.psnr) for s in scores.values()),
            "failed": sum(row.method == method for row in self.failures),
            "seconds": round(self.seconds(method), 4),
            "precision": self.precisions[method],
            "protocol": self.protocol,
        }

    def to_json(self) -> dict[str, Any]:
        """All of it, ready for ``json.dumps``."""
        return {
            "dataset": self.dataset,
            "layout": self.layout,
            "protocol": self.protocol,
            "means": [self.summary(method) for method in self.methods],
            "pictures": [row_record(row) for row in self.rows],
        }

    def to_csv(self) -> str:
        """One line per picture and method; an infinite PSNR is ``inf``."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["picture", "method", "psnr", "ssim", "seconds", "error"])
        for row in self.rows:
            psnr, ssim = (f"{v:.6f}" for v in row.score) if row.score else ("", "")
            writer.writerow(
                [row.picture, row.method, psnr, ssim, f"{row.seconds:.4f}", row.error or ""]
            )
        return text.getvalue()


def evaluate(
    root: Path,
    methods: Sequence[Method],
    *,
    layout: str = AUTO,
    protocol: str = DEFAULT_PROTOCOL,
    on_picture: Callable[[str, Sequence[Row]], None] | None = None,
) -> Evaluation:
    """Score methods, and the rainy input itself, on every pair of a data set.

    A picture that cannot be read or scored is a failed row; the others go on.

    Args:
        root: The data set.
        methods: What to score; their names differ.
        layout: See `dpenet.data.layouts`.
        protocol: A key of `dpenet.metrics.PROTOCOLS`.
        on_picture: Called after each picture with its name and rows.

    Raises:
        UsageError: If the protocol or layout is unknown, or two methods bear one name.
        NoPairsError: If there are no targets.
        DataError: If the data set cannot be understood.
    """
    get_protocol(protocol)
    names = (INPUT, *(method.name for method in methods))
    if len(set(names)) < len(names):
        raise UsageError(f"two methods bear one name: {', '.join(names)}")
    found = list_pairs(root, layout)
    rows: list[Row] = []
    for pair in found.pairs:
        new = _score_pair(pair, methods, protocol)
        rows += new
        if on_picture:
            on_picture(pair.name, new)
    precisions = {INPUT: None, **{method.name: method.precision for method in methods}}
    return Evaluation(
        str(root), found.layout, protocol, names, precisions, tuple(rows), found.pairs
    )


def _score_pair(pair: Pair, methods: Sequence[Method], protocol: str) -> list[Row]:
    try:
        rainy, clean = load_pair(pair)
        rows = [Row(pair.name, INPUT, score(rainy, clean, protocol))]
    except DpenetError as error:
        return [Row(pair.name, INPUT, None, error=str(error))]
    for method in methods:
        start = time.perf_counter()
        try:
            result = method.run(pair.name, rainy)
            seconds = time.perf_counter() - start
            rows.append(Row(pair.name, method.name, score(result, clean, protocol), seconds))
        except DpenetError as error:
            rows.append(Row(pair.name, method.name, None, error=str(error)))
    return rows


def row_record(row: Row) -> dict[str, Any]:
    """One JSON-ready record of a picture by a method. An infinite PSNR is null."""
    return {
        "picture": row.picture,
        "method": row.method,
        "psnr": _finite(row.score.psnr) if row.score else None,
        "ssim": _finite(row.score.ssim) if row.score else None,
        "identical": bool(row.score and math.isinf(row.score.psnr)),
        "seconds": round(row.seconds, 4),
        "error": row.error,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
