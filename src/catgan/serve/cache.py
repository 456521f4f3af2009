"""An in-memory cache of response bodies, limited in bytes."""

from __future__ import annotations

from collections import OrderedDict

_ENTRY_OVERHEAD = 512  # bytes that an entry takes beside its content, roughly


class ByteCache:
    """A least-recently-used cache from keys to bytes. Not thread-safe: the event loop uses it."""

    def __init__(self, limit: int) -> None:
        self.limit, self.size = limit, 0
        self._contents: OrderedDict[str, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._contents)

    def get(self, key: str) -> bytes | None:
        """Return the content of `key`, or None."""
        content = self._contents.get(key)
        if content is not None:
            self._contents.move_to_end(key)
        return content

    def put(self, key: str, content: bytes) -> None:
        """Store `content`, evicting the least recently used entries to make room."""
        if key in self._contents or len(content) + _ENTRY_OVERHEAD > self.limit:
            return
        self._contents[key] = content
        self.size += len(content) + _ENTRY_OVERHEAD
        while self.size > self.limit:
            _, evicted = self._contents.popitem(last=False)
            self.size -= len(evicted) + _ENTRY_OVERHEAD
