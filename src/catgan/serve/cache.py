"""Answers that were given already, as many as fit into so many bytes."""

from __future__ import annotations

from collections import OrderedDict

_OVERHEAD = 512  # bytes that an entry takes beside its content, about


class ByteCache:
    """The most recently used contents by key. For one thread: the event loop's."""

    def __init__(self, limit: int) -> None:
        self.limit, self.size = limit, 0
        self._contents: OrderedDict[str, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._contents)

    def get(self, key: str) -> bytes | None:
        """Return the content of a key, or None."""
        content = self._contents.get(key)
        if content is not None:
            self._contents.move_to_end(key)
        return content

    def put(self, key: str, content: bytes) -> None:
        """Keep a content; the least recently used ones make room for it."""
        if key in self._contents or len(content) + _OVERHEAD > self.limit:
            return
        self._contents[key] = content
        self.size += len(content) + _OVERHEAD
        while self.size > self.limit:
            _, oldest = self._contents.popitem(last=False)
            self.size -= len(oldest) + _OVERHEAD
