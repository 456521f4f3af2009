"""Prometheus metrics, served at /metrics."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The metrics of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "catgan_requests",
            "Requests, by route and status.",
            ("route", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "catgan_request_seconds",
            "Seconds from a request's header to the end of its response.",
            ("route",),
            registry=self.registry,
            buckets=_SECONDS,
        )
        self.rejected = Counter(
            "catgan_rejected",
            "Rejected and failed requests, by reason.",
            ("reason",),
            registry=self.registry,
        )
        self.images = Counter(
            "catgan_images", "Images generated, by model.", ("model",), registry=self.registry
        )
        self.cache = Counter(
            "catgan_cache",
            "Lookups in the response cache, by result.",
            ("result",),
            registry=self.registry,
        )
        self.reloads = Counter(
            "catgan_reloads",
            "Reloads of the artifacts, by result.",
            ("result",),
            registry=self.registry,
        )

    def add_gauge(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Add a gauge whose value is what `read` returns when the metrics are scraped."""
        Gauge(name, description, registry=self.registry).set_function(read)
