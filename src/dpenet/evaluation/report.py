"""One HTML page about an evaluation: table, histograms of gains, and examples.

The page needs no other file, no network and no script. Pictures are JPEG within it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpenet.data.pairs import load_pair
from dpenet.errors import DpenetError
from dpenet.evaluation.evaluate import INPUT, Evaluation, Method
from dpenet.evaluation.pictures import ERROR_FULL, as_rgb8, data_address, error_map
from dpenet.metrics import PROTOCOLS

_BINS = 25  # at most about so many bars
_WIDTH, _HEIGHT, _FOOT = 320, 120, 18


def evaluation_page(found: Evaluation, methods: Sequence[Method]) -> str:
    """The page of an evaluation with targets.

    Args:
        found: What was measured.
        methods: Those of the evaluation; the examples are derained anew.
    """
    name = Path(found.dataset).resolve().name
    pairs = len(found.pairs)
    body = [
        f"<h1>{escape(name)}</h1>",
        f"<p class=soft>{pairs} pairs, layout {escape(found.layout)}. "
        f"Protocol <b>{escape(found.protocol)}</b>: {escape(PROTOCOLS[found.protocol].title)}. "
        "Figures measured by this program; numbers of another protocol do not compare.</p>",
        *_failures(found),
        _table(found),
    ]
    gains = {method.name: found.gains(method.name) for method in methods}
    if any(gains.values()):
        body += ["<h2>Gain per picture</h2>", _histograms(gains), "<h2>Examples</h2>"]
        body.append(
            "<p class=soft>The pictures with the most, the median and the least gain, for each "
            "method. Error: mean absolute difference to the target, 0 "
            f"<span class=scale></span> {ERROR_FULL} levels or more.</p>"
        )
        best = max((m.name for m in methods), key=lambda name: found.mean(name).psnr)
        for method in methods:
            if gains[method.name]:
                is_open = method.name == best
                body.append(_examples(found, method, gains[method.name], is_open=is_open))
    return _page(f"{name}, {found.protocol}", body)


def gallery_page(
    root: Path,
    sources: Sequence[tuple[str, Path]],
    methods: Sequence[Method],
    on_picture: Callable[[str, str | None], None],
) -> str:
    """The page for pictures without targets: before and after, and no score.

    Args:
        root: Where the pictures come from.
        sources: Name and file of each picture.
        methods: What derains them.
        on_picture: Called after each picture with its name and None, or what went wrong.
    """
    from dpenet.media.images import read_picture

    body = [
        f"<h1>{escape(root.resolve().name)}</h1>",
        f"<p class=soft>{len(sources)} pictures by {escape(', '.join(m.name for m in methods))}."
        "</p>",
        "<p class=notice>There are no rain-free targets for these pictures, so no score exists: "
        "judge by eye.</p>",
    ]
    for name, file in sources:
        error = None
        try:
            rainy = as_rgb8(read_picture(file).pixels)
            shown = [("before", rainy), *((m.name, m.run(name, rainy)) for m in methods)]
            body.append(_strip(name, shown))
        except DpenetError as problem:
            error = str(problem)
            body.append(f"<p class=notice>{escape(name)}: {escape(error)}</p>")
        on_picture(name, error)
    return _page(root.resolve().name, body)


def _page(title: str, body: Sequence[str]) -> str:
    style = files("dpenet.evaluation").joinpath("report.css").read_text(encoding="utf-8")
    return (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _failures(found: Evaluation) -> Iterator[str]:
    if found.failures:
        rows = "<br>".join(
            f"{escape(r.picture)}, {escape(r.method)}: {escape(r.error or '')}"
            for r in found.failures[:20]
        )
        yield f"<p class=notice>{len(found.failures)} not scored and in no mean:<br>{rows}</p>"


def _table(found: Evaluation) -> str:
    records = [found.summary(method) for method in found.methods]
    best = max((r["psnr"] or -math.inf for r in records), default=0)
    rows = []
    for r in records:
        gain = "" if r["method"] == INPUT or r["gain"] is None else f"{r['gain']:+.2f}"
        way = "up" if gain.startswith("+") else "down"
        rows.append(
            f"<tr{' class=best' if r['psnr'] == best else ''}><td>{escape(r['method'])}</td>"
            f"<td>{_number(r['psnr'], 3)}</td><td>{_number(r['ssim'], 4)}</td>"
            f"<td class={way}>{gain}</td><td>{r['pairs']}</td>"
            f"<td>{escape(r['precision'] or '')}</td></tr>"
        )
    identical = sum(r["identical"] for r in records)
    note = "Means over the pictures. Gain: PSNR over that of the rainy input."
    if identical:
        note += f" {identical} results equal their targets; their PSNR is infinite and in no mean."
    return (
        "<div class=scroll><table><thead><tr><th>Method</th><th>PSNR, dB</th><th>SSIM</th>"
        "<th>Gain, dB</th><th>Pairs</th><th>Precision</th></tr></thead><tbody>"
        + "".join(rows)
        + f"</tbody><caption>{note}</caption></table></div>"
    )


def _number(value: float | None, digits: int) -> str:
    return "∞" if value is None else f"{value:.{digits}f}"


def _histograms(gains: dict[str, dict[str, float]]) -> str:
    """One small chart per method, all over the same range and height."""
    values = {name: [g for g in by.values() if math.isfinite(g)] for name, by in gains.items()}
    everything = [g for some in values.values() for g in some] or [0.0]
    low, high = min(0.0, *everything), max(0.0, *everything)
    step = _round_step((high - low) / _BINS)
    edges = step * np.arange(math.floor(low / step), math.ceil(high / step) + 2, dtype=np.float64)
    counts = {name: np.histogram(some, edges)[0] for name, some in values.items()}
    tallest = max(int(count.max()) for count in counts.values())
    return (
        "<div class=charts>"
        + "".join(_histogram(n, values[n], counts[n], edges, max(1, tallest)) for n in gains)
        + "</div>"
    )


def _histogram(
    name: str, values: list[float], counts: NDArray[np.intp], edges: NDArray[np.float64], top: int
) -> str:
    scale = _WIDTH / (edges[-1] - edges[0])

    def x(value: float) -> float:
        return float((value - edges[0]) * scale)

    bars = []
    for count, left, right in zip(counts, edges, edges[1:], strict=False):
        if count:
            height = (_HEIGHT - _FOOT - 16) * int(count) / top
            top_edge = _HEIGHT - _FOOT - height
            kind = "bar loss" if right <= 0 else "bar"
            bars.append(
                f'<text class=count x="{(x(left) + x(right)) / 2:.1f}" y="{top_edge - 3:.1f}" '
                f'text-anchor="middle">{count}</text>'
                f'<rect class="{kind}" x="{x(left) + 0.5:.1f}" y="{top_edge:.1f}" '
                f'width="{max(1.0, x(right) - x(left) - 1):.1f}" height="{height:.1f}" rx="1">'
                f"<title>{count} pictures, {left:+.1f} to {right:+.1f} dB</title></rect>"
            )
    ground = _HEIGHT - _FOOT
    marks = [edges[0], edges[-1], *([0.0] if edges[0] < 0 < edges[-1] else [])]
    labels = "".join(
        f'<text x="{x(m):.1f}" y="{_HEIGHT - 4}" text-anchor="{_anchor(m, edges)}">{_signed(m)} dB'
        "</text>"
        for m in marks
        if m in (edges[0], edges[-1]) or 45 < x(m) < _WIDTH - 55
    )
    middle = f", median {float(np.median(values)):+.2f} dB" if values else ""
    worse = sum(value < 0 for value in values)
    said = f"{len(values)} pictures{middle}{f'; {worse} made worse' if worse else ''}"
    return (
        f"<figure><h3>{escape(name)}</h3>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role=img '
        f'aria-label="{escape(f"Histogram of gains of {name}: {said}")}">'
        f'<line x1="0" x2="{_WIDTH}" y1="{ground}" y2="{ground}"/>'
        f'<line class=zero x1="{x(0):.1f}" x2="{x(0):.1f}" y1="4" y2="{ground}"/>'
        f"{''.join(bars)}{labels}</svg><figcaption>{said}</figcaption></figure>"
    )


def _signed(value: float) -> str:
    return f"{value:+.4g}" if value else "0"


def _anchor(value: float, edges: NDArray[np.float64]) -> str:
    return "start" if value == edges[0] else "end" if value == edges[-1] else "middle"


def _round_step(step: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    if step <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(step))
    return next((m * power for m in (1, 2, 5) if m * power >= step), 10 * power)


def _examples(found: Evaluation, method: Method, gains: dict[str, float], *, is_open: bool) -> str:
    """The pictures that gained most, the median, and least."""
    order = list(gains)  # worst first
    chosen = {"most": order[-1], "median": order[len(order) // 2], "least": order[0]}
    pairs = {pair.name: pair for pair in found.pairs}
    strips = []
    before, after = found.scores(INPUT), found.scores(method.name)
    for what, name in chosen.items():
        rainy, clean = load_pair(pairs[name])
        result = method.run(name, rainy)
        shown = [
            (f"before, {before[name].psnr:.2f} dB, {before[name].ssim:.4f}", rainy),
            (f"after, {after[name].psnr:.2f} dB, {after[name].ssim:.4f}", result),
            ("target", clean),
            ("error", error_map(result, clean)),
        ]
        strips.append(_strip(f"{name}: {what} gain, {gains[name]:+.2f} dB", shown))
    mean = found.mean(method.name)
    return (
        f"<details{' open' if is_open else ''}><summary>{escape(method.name)} "
        f"<span>{_number(mean.psnr, 3)} dB, {mean.ssim:.4f}</span></summary>"
        f"{''.join(strips)}</details>"
    )


def _strip(title: str, shown: Sequence[tuple[str, NDArray[np.uint8]]]) -> str:
    figures = "".join(
        f'<figure><img src="{data_address(picture)}" alt="{escape(f"{title}: {what}")}" '
        f'width="{picture.shape[1]}" height="{picture.shape[0]}" loading=lazy>'
        f"<figcaption>{escape(what)}</figcaption></figure>"
        for what, picture in shown
    )
    return (
        f"<section class=example><h3>{escape(title)}</h3><div class=strip>{figures}</div></section>"
    )
