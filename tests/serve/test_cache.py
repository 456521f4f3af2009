"""The response cache."""

from __future__ import annotations

from catgan.serve.cache import ByteCache

EACH = 488 + 512  # bytes of content and of overhead


def test_least_recently_used_entry_is_evicted():
    cache = ByteCache(3 * EACH)
    for key in "abc":
        cache.put(key, bytes(488))
    assert cache.get("a")
    cache.put("d", bytes(488))
    assert [cache.get(key) is not None for key in "abcd"] == [True, False, True, True]
    assert (len(cache), cache.size) == (3, 3 * EACH)


def test_size_never_exceeds_limit():
    cache = ByteCache(10_000)
    for number in range(1_000):
        cache.put(str(number), bytes(number * 37 % 4_001))
        assert cache.size <= 10_000
    assert len(cache) > 1


def test_entry_larger_than_limit_is_not_stored():
    cache = ByteCache(2 * EACH)
    cache.put("a", bytes(488))
    cache.put("large", bytes(2 * EACH))
    assert cache.get("large") is None
    assert cache.get("a") is not None


def test_repeated_put_is_counted_once():
    cache = ByteCache(10_000)
    cache.put("a", bytes(488))
    cache.put("a", bytes(488))
    assert (len(cache), cache.size) == (1, EACH)


def test_zero_limit_stores_nothing():
    cache = ByteCache(0)
    cache.put("a", b"")
    assert len(cache) == 0
