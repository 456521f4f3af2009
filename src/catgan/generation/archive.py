"""A generator as a Keras file (.keras), and the card in it.

The file is a zip of `config.json`, `model.weights.h5` and `metadata.json`; the card is in the
latter, under the key `catgan`. Here the card is read, and nothing else: Keras is not loaded, and
nothing of the model is unpacked to the disk or run. `docs/reference/formats.md` is the description.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

from catgan.errors import CatganError
from catgan.generation.artifact import (
    CHECKSUM,
    KEY,
    MAX_ARTIFACT_BYTES,
    MAX_CARD_BYTES,
    parse_json_table,
)

KERAS = ".keras"

_METADATA = "metadata.json"
_HASHED = ("config.json", "model.weights.h5")
_MAX_DIRECTORY_BYTES = 4096  # of a zip's list of members; three take some hundreds
_END = struct.Struct("<4s4H2LH")  # end of central directory record, without a comment
_ZIP64_LOCATOR_BYTES = 20
_DATE = (1980, 1, 1, 0, 0, 0)  # the same for every export


def seal_keras(model: bytes, document: Mapping[str, Any]) -> bytes:
    """Return a .keras file with the card (JSON) in its metadata."""
    with zipfile.ZipFile(io.BytesIO(model)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    metadata = json.loads(members[_METADATA])
    metadata[KEY] = {**document, CHECKSUM: _digest(members)}
    text = json.dumps(metadata, ensure_ascii=False, allow_nan=False)
    members[_METADATA] = text.encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), content)
    return out.getvalue()


def check_keras(data: bytes, where: str) -> dict[str, Any]:
    """Return the card in the bytes of a .keras file.

    Raises:
        CatganError: they are no such file, damaged, or without a card of catgan's.
    """
    try:
        if len(data) > MAX_ARTIFACT_BYTES:
            raise ValueError(f"it is larger than {MAX_ARTIFACT_BYTES // 2**20} MiB")
        members = _members(data)
        card = parse_json_table(members[_METADATA]).get(KEY)
        if not isinstance(card, dict):
            raise ValueError("it has no card of catgan's")
    except ValueError as error:
        raise CatganError(
            f"{where}: is damaged, or no .keras file that `catgan export` wrote ({error}): name "
            "one, or export again"
        ) from None
    if _digest(members) != card.get(CHECKSUM):
        raise CatganError(
            f"{where}: is damaged (it does not have the checksum it was written with): fetch or "
            "export it again"
        )
    return card


def _members(data: bytes) -> dict[str, bytes]:
    """Return the members of a .keras file; ValueError for one that is damaged or has others."""
    end = len(data) - _END.size
    signature, *_, directory_bytes, _, comment = _END.unpack(data[end:]) if end >= 0 else (b"",) * 8
    if signature != b"PK\5\6" or comment:
        raise ValueError("it is no zip, or not complete")
    # Before the list of members is read, which is done at once. Behind a locator another record
    # would be read instead of this one.
    locator = data[max(end - _ZIP64_LOCATOR_BYTES, 0) : end]
    if directory_bytes > _MAX_DIRECTORY_BYTES or locator.startswith(b"PK\6\7"):
        raise ValueError("its list of members is too long")
    members: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            if sorted(info.filename for info in infos) != sorted((_METADATA, *_HASHED)):
                raise ValueError("it does not have the members of an export")
            for info in infos:
                most = MAX_ARTIFACT_BYTES if info.filename in _HASHED else MAX_CARD_BYTES
                # Packed, a member could be a thousand times as large as the file; ours are not.
                if info.compress_type != zipfile.ZIP_STORED or info.file_size > most:
                    raise ValueError("a member is packed, or too large")
                members[info.filename] = archive.read(info)
    except (
        *(zipfile.BadZipFile, struct.error, zlib.error, EOFError, OSError, RuntimeError),
        *(NotImplementedError, UnicodeError, OverflowError),
    ) as error:
        raise ValueError(f"its zip is damaged: {str(error)[:80]!r}") from None
    return members


def _digest(members: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name in _HASHED:
        digest.update(members[name])
    return digest.hexdigest()
