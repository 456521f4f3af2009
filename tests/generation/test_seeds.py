from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catgan.errors import CatganError
from catgan.generation.seeds import MAX_SEED, parse_seeds


def test_single_seeds_ranges_and_lists_are_parsed():
    assert parse_seeds("7") == [7]
    assert parse_seeds("0-3") == [0, 1, 2, 3]
    assert parse_seeds("1, 5,9 - 12") == [1, 5, 9, 10, 11, 12]
    assert parse_seeds(str(MAX_SEED)) == [MAX_SEED]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "-1",
        "1-",
        "3-1",
        "1,,2",
        "1.5",
        "0-9999999999",
        "9" * 30,
        "٣",
        str(MAX_SEED + 1),
    ],
)
def test_malformed_seeds_are_rejected_in_one_line(text):
    with pytest.raises(CatganError) as error:
        parse_seeds(text)
    assert "\n" not in str(error.value)


@given(st.text(max_size=30))
def test_any_text_gives_seeds_or_catgan_error(text):
    with contextlib.suppress(CatganError):
        assert all(0 <= seed <= MAX_SEED for seed in parse_seeds(text))
