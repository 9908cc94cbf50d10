"""Measure the service under load: how much of the engine's own throughput it reaches.

    python -m benchmarks.load                       # 64 clients for 60 seconds
    python -m benchmarks.load --clients 8 --seconds 10

In turn, part by part: the engine alone on arrays of 128 x 128 pixels, and ``dpenet serve`` in a
process of its own on PNG files of the same pixels. The clients are on this machine too, each under
an address of its own (127.0.1.1 and on), and send the next picture when they have the last one:
what they take of the processor counts against the service. Everything is also counted in processor
time, which other work on the machine blurs less.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import platform
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from statistics import median, quantiles
from typing import Any, NamedTuple

import numpy as np
from benchmarks.machine import REPOSITORY, commit, cpu, libraries
from benchmarks.service import Service, running
from PIL import Image

from dpenet.atomic import atomic_path
from dpenet.inference import pixels
from dpenet.inference.derainer import Derainer
from dpenet.inference.engines import Engine, open_engine
from dpenet.server.settings import Settings

RESULTS = REPOSITORY / "benchmarks" / "results" / "load.json"
SCHEMA = 1
SIDE, PICTURES = 128, 64
ROUNDS, ALONE_SECONDS, WARMING_SECONDS = 4, 4.0, 2.0
RETRY_SECONDS = 1.0


class Answer(NamedTuple):
    """What a client got, how long it took, and whether it came before the end."""

    status: int
    seconds: float
    in_time: bool


class Part(NamedTuple):
    """One round: pictures per second, and milliseconds of all processors for one."""

    per_second: float
    cpu_ms: float


def main() -> None:
    """Measure what the arguments name, and write the results."""
    args = _arguments()
    derainer = Derainer(args.model, precision=args.precision)
    files = _pictures()
    engine = open_engine(derainer.weights, derainer.options, streams=derainer.threads)
    alone: list[Part] = []
    loaded: list[Part] = []
    answers: list[Answer] = []
    with running(model=args.model, precision=args.precision) as service:
        asyncio.run(drive(service.port, files, 8, WARMING_SECONDS))
        before = service.memory
        for _ in range(ROUNDS):
            alone.append(_alone(engine, files))
            part, got = _loaded(service, files, args)
            loaded.append(part)
            answers += got
        memory = {"before": before, "after": service.memory, "peak": service.peak_memory}
    accepted = [answer.seconds for answer in answers if answer.status == 200]
    cuts = quantiles(accepted, n=100)
    pairs = list(zip(alone, loaded, strict=True))
    row = {
        "model": derainer.weights.name,
        "precision": derainer.precision,
        "side": SIDE,
        "clients": args.clients,
        "seconds": args.seconds,
        "per_second": median(part.per_second for part in loaded),
        "engine_per_second": median(part.per_second for part in alone),
        "share": median(whole.per_second / own.per_second for own, whole in pairs),
        "cpu_ms": median(part.cpu_ms for part in loaded),
        "engine_cpu_ms": median(part.cpu_ms for part in alone),
        "cpu_share": median(own.cpu_ms / whole.cpu_ms for own, whole in pairs),
        "statuses": dict(sorted(Counter(str(answer.status) for answer in answers).items())),
        "p50_seconds": cuts[49],
        "p99_seconds": cuts[98],
        "longest_seconds": max(accepted),
        "timeout_seconds": Settings().seconds,
        "memory_mb": {when: round(size / 1e6) for when, size in memory.items()},
        "commit": commit(),
    }
    _write(row)
    print(json.dumps(row, indent=1))
    print(table(json.loads(RESULTS.read_text())))


def table(record: dict[str, Any]) -> str:
    """The results as docs/server.md shows them."""
    heads = ["model", "clients", "pictures/s", "of the engine's own", "by processor time"]
    heads += ["median", "99 % within", "errors"]
    lines = [f"| {' | '.join(heads)} |", "| --- |" + " ---: |" * (len(heads) - 1)]
    for row in record["rows"]:
        errors = sum(count for status, count in row["statuses"].items() if status != "200")
        cells = (
            f"`{row['model']}`, {row['precision']}",
            row["clients"],
            f"{row['per_second']:.1f}",
            f"{row['share']:.0%}",
            f"{row['cpu_share']:.0%}",
            f"{row['p50_seconds']:.2f} s",
            f"{row['p99_seconds']:.2f} s",
            errors,
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--model", default="universal", help="name in the model table")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0)
    return parser.parse_args()


def _pictures() -> list[bytes]:
    """PNG files cut out of photos at random places."""
    rng = np.random.default_rng(0)
    paths = sorted((REPOSITORY / "examples").glob("*.jpg"))
    photos = [np.asarray(Image.open(path)) for path in paths]
    files = []
    for number in range(PICTURES):
        photo = photos[number % len(photos)]
        y, x = (int(rng.integers(0, length - SIDE + 1)) for length in photo.shape[:2])
        file = io.BytesIO()
        Image.fromarray(photo[y : y + SIDE, x : x + SIDE]).save(file, "PNG")
        files.append(file.getvalue())
    return files


def _alone(engine: Engine, files: list[bytes]) -> Part:
    """The network alone."""
    arrays = [pixels.to_network(np.asarray(Image.open(io.BytesIO(file)))) for file in files]
    count = 0
    with ThreadPoolExecutor(engine.streams) as pool:
        list(pool.map(engine.run, arrays[:8]))  # the first runs also compile
        start, busy = time.perf_counter(), time.process_time()
        while (elapsed := time.perf_counter() - start) < ALONE_SECONDS:
            list(pool.map(engine.run, arrays))
            count += len(arrays)
    return Part(count / elapsed, 1000 * (time.process_time() - busy) / count)


def _loaded(
    service: Service, files: list[bytes], args: argparse.Namespace
) -> tuple[Part, list[Answer]]:
    """The service and its clients."""
    seconds = args.seconds / ROUNDS
    busy = service.processor_seconds + time.process_time()
    answers = asyncio.run(drive(service.port, files, args.clients, seconds))
    busy = service.processor_seconds + time.process_time() - busy
    done = [answer for answer in answers if answer.status == 200]
    in_time = sum(answer.in_time for answer in done)
    return Part(in_time / seconds, 1000 * busy / len(done)), answers


async def drive(port: int, files: list[bytes], count: int, seconds: float) -> list[Answer]:
    """Send pictures from so many clients for so long."""
    end = time.perf_counter() + seconds
    found = await asyncio.gather(*(_client(port, files, n, end) for n in range(count)))
    return [answer for answers in found for answer in answers]


async def _client(port: int, files: list[bytes], number: int, end: float) -> list[Answer]:
    """One client, which keeps its connection."""
    source = (f"127.0.1.{number + 1}", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=source)
    answers: list[Answer] = []
    while (start := time.perf_counter()) < end:
        body = files[(number + len(answers)) % len(files)]
        head = "POST /v1/derain HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        _, _, length = answer.partition(b"content-length:")
        await reader.readexactly(int(length.split(b"\r\n", 1)[0]))
        now = time.perf_counter()
        answers.append(Answer(int(answer.split()[1]), now - start, now <= end))
        if b"\r\nretry-after:" in answer:
            await asyncio.sleep(RETRY_SECONDS)
    writer.close()
    return answers


def _write(row: dict[str, Any]) -> None:
    former: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    key = ("model", "precision", "side", "clients")
    rounded = {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}
    rows = {tuple(old[k] for k in key): old for old in [*former.get("rows", []), rounded]}
    record = {
        "schema": SCHEMA,
        "cpu": cpu(),
        "libraries": libraries("fastapi", "openvino", "pyvips", "uvicorn"),
        "python": platform.python_version(),
        "rows": list(rows.values()),
    }
    with atomic_path(RESULTS) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
