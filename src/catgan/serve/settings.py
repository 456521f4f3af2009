"""The settings of the service and their defaults: limits, timeouts, access."""

from __future__ import annotations

import ipaddress
import math
import os
from dataclasses import dataclass, field
from pathlib import Path

from catgan.errors import CatganError, quoted

_CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")  # of a container: quota and period in microseconds


def usable_cores() -> int:
    """Return how many cores this process may use, within a container's limit (cgroup v2)."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    try:
        quota, period = _CPU_LIMIT.read_text("ascii").split()
        return min(cores, max(1, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no cgroup v2, or no limit: "max 100000"
        return cores


@dataclass(frozen=True)
class Settings:
    """Settings of the service. Sizes are in bytes, times in seconds.

    `catgan serve` takes its options' defaults from here.

    Raises:
        CatganError: a value is out of range, or two limits contradict each other.
    """

    workers: int = field(default_factory=usable_cores)  # images generated at once, one thread each
    queue: int = 512  # images accepted and not yet generated, over all requests
    max_seeds: int = 64  # in one request
    max_frames: int = 120  # in one morph
    max_size: int = 1_024  # side of one enlarged image in pixels
    max_pixels: int = 4_194_304  # in one response: a grid, or all frames of a morph
    max_morphs: int = 1  # generated at once
    max_body: int = 1_048_576
    max_header: int = 16_384
    max_buffered: int = 268_435_456  # of all request bodies and long responses in transit
    max_connections: int = 512
    header_timeout: float = 10.0
    request_timeout: float = 30.0
    send_timeout: float = 30.0
    keep_alive: float = 15.0
    rate: float = 0.0  # requests a second from one client address; 0: no limit
    cache: int = 67_108_864
    grace: float = 30.0  # from SIGTERM to exit
    drain: float = 1.0  # of the grace: no longer ready, but still accepting requests
    trusted_proxies: tuple[str, ...] = ()  # addresses whose X-Forwarded-For is trusted
    cors_origins: tuple[str, ...] = ()
    access_log: bool = True
    page: bool = True  # also exposes the artifact, so that the browser can run it
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:  # also rejects NaN
                raise CatganError(
                    f"{_option(name)} {value} is out of range: expected {low:g} to {high:,}"
                )
        max_images = max(self.max_seeds, self.max_frames)
        if self.queue < max_images:
            raise CatganError(
                f"--queue {self.queue} is too small for one request of {max_images} images: use "
                f"--queue {max_images} or more, or a smaller --max-seeds or --max-frames"
            )
        if self.drain > self.grace:
            raise CatganError(
                f"--drain {self.drain:g} is longer than --grace {self.grace:g}: use a longer "
                "--grace"
            )
        for address in self.trusted_proxies:
            try:
                ipaddress.ip_network(address)
            except ValueError:
                raise CatganError(
                    f"invalid --trusted-proxy {quoted(address)}: expected an address or a network, "
                    "such as 10.0.0.5 or 10.0.0.0/24"
                ) from None
        if self.token is not None and not (self.token.isascii() and self.token.isprintable()):
            raise CatganError("the token has characters that no header can hold: use ASCII only")
        if self.token is not None and len(self.token) < MIN_TOKEN:
            raise CatganError(
                f"the token is shorter than {MIN_TOKEN} characters: make one with "
                "openssl rand -hex 16"
            )


MIN_TOKEN = 16
_RANGES: dict[str, tuple[float, float]] = {
    "workers": (1, 1_024),
    "queue": (1, 100_000),
    "max_seeds": (1, 4_096),
    "max_frames": (2, 1_000),
    "max_size": (1, 2_048),
    "max_pixels": (1, 200_000_000),
    "max_morphs": (0, 1_024),
    "max_body": (1_024, 2**30),
    "max_header": (1_024, 2**20),
    "max_buffered": (1_048_576, 2**40),
    "max_connections": (1, 100_000),
    "header_timeout": (0.1, 3_600),
    "request_timeout": (0.1, 3_600),
    "send_timeout": (0.1, 3_600),
    "keep_alive": (0.1, 3_600),
    "rate": (0, 1_000_000),
    "cache": (0, 2**40),
    "grace": (0, 3_600),
    "drain": (0, 3_600),
}


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
