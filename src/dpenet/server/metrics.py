"""What the service counts, for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

from dpenet.server.line import Line

STAGES = ("upload", "queue", "decode", "network", "encode")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """Counters of one service.

    Args:
        line: Of the pictures, with the places of all.
        clips: The line of the clips.
    """

    def __init__(self, line: Line, clips: Line) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "dpenet_requests",
            "Requests answered.",
            ("route", "method", "status"),
            registry=registry,
        )
        self.errors = Counter(
            "dpenet_errors", "Requests answered with an error.", ("code",), registry=registry
        )
        self.stages = Histogram(
            "dpenet_stage_seconds",
            "Seconds that a picture or clip spent in each stage.",
            ("stage",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.seconds = Histogram(
            "dpenet_request_seconds",
            "Seconds from the head of a request to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.pixels = Counter(
            "dpenet_pixels", "Pixels derained.", ("model", "precision"), registry=registry
        )

        def waiting() -> int:
            return line.waiting + clips.waiting

        def working() -> int:
            return line.working + clips.working

        for name, text, read in (
            ("dpenet_places_taken", "Requests in hand.", lambda: line.taken),
            ("dpenet_waiting", "Requests that wait for their turn.", waiting),
            ("dpenet_working", "Pictures and clips being computed.", working),
            ("dpenet_held_bytes", "Bytes of uploads and results in hand.", lambda: line.held),
        ):
            Gauge(name, text, registry=registry).set_function(read)

    def text(self) -> bytes:
        """Everything in Prometheus's format."""
        return generate_latest(self.registry)


class Stages:
    """Seconds that one request spends in each stage."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Measure what is done inside; counted only if it succeeds."""
        start = time.perf_counter()
        yield
        seconds = time.perf_counter() - start
        self.seconds[stage] = seconds
        self._metrics.stages.labels(stage).observe(seconds)

    def header(self) -> str:
        """The header Server-Timing: milliseconds of each stage."""
        return ", ".join(f"{name};dur={1000 * s:.2f}" for name, s in self.seconds.items())
