"""The memory of answers."""

from __future__ import annotations

from catgan.serve.cache import ByteCache

EACH = 488 + 512  # bytes, with what an entry takes beside its content


def test_the_least_recently_used_makes_room():
    cache = ByteCache(3 * EACH)
    for key in "abc":
        cache.put(key, bytes(488))
    assert cache.get("a")
    cache.put("d", bytes(488))
    assert [cache.get(key) is not None for key in "abcd"] == [True, False, True, True]
    assert (len(cache), cache.size) == (3, 3 * EACH)


def test_it_never_holds_more_than_its_limit():
    cache = ByteCache(10_000)
    for number in range(1_000):
        cache.put(str(number), bytes(number * 37 % 4_001))
        assert cache.size <= 10_000
    assert len(cache) > 1


def test_what_is_larger_than_all_of_it_is_not_kept_and_drives_nothing_out():
    cache = ByteCache(2 * EACH)
    cache.put("a", bytes(488))
    cache.put("large", bytes(2 * EACH))
    assert cache.get("large") is None
    assert cache.get("a") is not None


def test_a_content_put_twice_is_counted_once():
    cache = ByteCache(10_000)
    cache.put("a", bytes(488))
    cache.put("a", bytes(488))
    assert (len(cache), cache.size) == (1, EACH)


def test_without_a_limit_of_bytes_nothing_is_kept():
    cache = ByteCache(0)
    cache.put("a", b"")
    assert len(cache) == 0
