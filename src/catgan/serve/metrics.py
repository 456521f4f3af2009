"""What Prometheus reads at /metrics."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The counters of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "catgan_requests",
            "Requests answered, by the kind of address and the status.",
            ("route", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "catgan_request_seconds",
            "From a request's header to the end of its answer.",
            ("route",),
            registry=self.registry,
            buckets=_SECONDS,
        )
        self.rejected = Counter(
            "catgan_rejected",
            "Requests not answered as asked, by the reason.",
            ("reason",),
            registry=self.registry,
        )
        self.images = Counter(
            "catgan_images", "Images drawn, by the model.", ("model",), registry=self.registry
        )
        self.cache = Counter(
            "catgan_cache",
            "Answers looked up in memory, by what came of it.",
            ("result",),
            registry=self.registry,
        )
        self.reloads = Counter(
            "catgan_reloads",
            "Reloads of the artifacts, by what came of it.",
            ("result",),
            registry=self.registry,
        )

    def watch(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Report what `read` returns at the time when somebody asks."""
        Gauge(name, description, registry=self.registry).set_function(read)
