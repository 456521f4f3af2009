from __future__ import annotations

import random
import tracemalloc

import pytest

from catgan.data.dataset.image_records import ImageRecord, ImageRecords

ENTRIES = [
    {"source": "a.png", "sha256": "0a" * 32, "crop": [0, 1, 32, 33], "split": "train"},
    {"source": "", "sha256": "ff" * 32, "crop": [5, 6, 7, 2**31 - 1], "split": "holdout"},
    {"source": "猫/b\n.png", "sha256": "00" * 32, "crop": [0, 0, 1, 1], "split": "train"},
]
RECORDS = [
    ImageRecord("a.png", "0a" * 32, (0, 1, 32, 33), "train"),
    ImageRecord("(unnamed)", "ff" * 32, (5, 6, 7, 2**31 - 1), "holdout"),
    ImageRecord("猫/b�.png", "00" * 32, (0, 0, 1, 1), "train"),
]


def test_from_json_makes_names_printable():
    records = ImageRecords.from_json(ENTRIES)
    assert list(records) == RECORDS
    assert list(ImageRecords.of(RECORDS)) == RECORDS
    assert records.is_held_out.tolist() == [False, True, False]
    assert records.crops.tolist() == [list(record.crop) for record in RECORDS]


def test_records_are_a_sequence():
    records = ImageRecords.of(RECORDS)
    assert len(records) == 3
    assert records[-1] == RECORDS[-1]
    assert records[1:] == RECORDS[1:]
    assert list(ImageRecords.of([])) == []
    with pytest.raises(IndexError):
        records[3]


@pytest.mark.parametrize(
    "change",
    [
        {"source": 3},
        {"source": None},
        {"sha256": "0a" * 31},
        {"sha256": "0A" * 32},
        {"sha256": "  " + "0a" * 31},
        {"sha256": "é" + "0" * 63},
        {"split": "test"},
        {"split": ["train"]},
        {"crop": [0, 1, 32]},
        {"crop": [0, 1, 32, 33, 34]},
        {"crop": [0, 1, 32, 33.0]},
        {"crop": [False, 1, 32, 33]},
        {"crop": [-1, 1, 32, 33]},
        {"crop": [32, 1, 32, 33]},
        {"crop": [0, 33, 32, 33]},
        {"crop": [0, 1, 32, 2**31]},
        {"crop": [0, 1, 32, 2**80]},
        {"crop": {"0": 0, "1": 1, "2": 32, "3": 33}},
        {"more": 1},
    ],
)
def test_one_malformed_entry_raises(change):
    for number in range(3):
        entries = [dict(entry) for entry in ENTRIES]
        entries[number] |= change
        with pytest.raises(ValueError, match="malformed images entry"):
            ImageRecords.from_json(entries)


@pytest.mark.parametrize("entry", [None, [], "text", {}, {"source": "a.png"}])
def test_wrong_type_of_entry_raises(entry):
    with pytest.raises(ValueError, match="malformed images entry"):
        ImageRecords.from_json([*ENTRIES, entry])


def test_memory_per_image():
    rng = random.Random(0)
    records = [
        ImageRecord(f"photos/{number:08}.jpg", rng.randbytes(32).hex(), (0, 0, 64, 64), "train")
        for number in range(2000)
    ]
    tracemalloc.start()
    kept = ImageRecords.of(records)
    bytes_per_image = tracemalloc.get_traced_memory()[0] / len(kept)
    tracemalloc.stop()
    assert bytes_per_image < 100
