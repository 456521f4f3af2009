"""Write and read the model card in a Keras file (.keras).

The file is a zip of `config.json`, `model.weights.h5` and `metadata.json`; the card is in the
metadata, under the key `catgan`. Reading it loads no Keras, unpacks nothing to disk and runs
nothing. `docs/formats.md` describes the format.
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
    parse_json_object,
)

KERAS = ".keras"

_METADATA = "metadata.json"
_HASHED = ("config.json", "model.weights.h5")
_MAX_DIRECTORY_BYTES = 4096  # of the zip's central directory; three members take a few hundred
_END = struct.Struct("<4s4H2LH")  # end of central directory record, without a comment
_ZIP64_LOCATOR_BYTES = 20
_DATE = (1980, 1, 1, 0, 0, 0)  # constant, so that equal exports are equal bytes


def seal_keras(model: bytes, document: Mapping[str, Any]) -> bytes:
    """Return the .keras file `model` with the card `document` (JSON) in its metadata."""
    with zipfile.ZipFile(io.BytesIO(model)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    metadata = json.loads(members[_METADATA])
    metadata[KEY] = {**document, CHECKSUM: _checksum(members)}
    text = json.dumps(metadata, ensure_ascii=False, allow_nan=False)
    members[_METADATA] = text.encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), content)
    return buffer.getvalue()


def check_keras(data: bytes, where: str) -> dict[str, Any]:
    """Return the card in the bytes of a .keras file; errors name the file `where`.

    Raises:
        CatganError: the bytes are not a .keras file, are damaged, or have no catgan card.
    """
    try:
        if len(data) > MAX_ARTIFACT_BYTES:
            raise ValueError(f"it is larger than {MAX_ARTIFACT_BYTES // 2**20} MiB")
        members = _read_members(data)
        card = parse_json_object(members[_METADATA]).get(KEY)
        if not isinstance(card, dict):
            raise ValueError("it has no catgan card")
    except ValueError as error:
        raise CatganError(
            f"{where}: is damaged, or not a .keras file that `catgan export` wrote ({error}): "
            "name another file, or export again"
        ) from None
    if _checksum(members) != card.get(CHECKSUM):
        raise CatganError(
            f"{where}: is damaged (its checksum does not match): download or export it again"
        )
    return card


def _read_members(data: bytes) -> dict[str, bytes]:
    """Return the members of a .keras file; ValueError if damaged or with other members."""
    end = len(data) - _END.size
    signature, *_, directory_bytes, _, comment = _END.unpack(data[end:]) if end >= 0 else (b"",) * 8
    if signature != b"PK\5\6" or comment:
        raise ValueError("it is not a complete zip")
    # Checked first because `zipfile` reads the whole central directory at once. A ZIP64 locator
    # would make it read another record instead of this one.
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
                limit = MAX_ARTIFACT_BYTES if info.filename in _HASHED else MAX_CARD_BYTES
                # A compressed member can expand to a thousand times its size; ours are stored.
                if info.compress_type != zipfile.ZIP_STORED or info.file_size > limit:
                    raise ValueError("a member is compressed or too large")
                members[info.filename] = archive.read(info)
    except (
        *(zipfile.BadZipFile, struct.error, zlib.error, EOFError, OSError, RuntimeError),
        *(NotImplementedError, UnicodeError, OverflowError),
    ) as error:
        raise ValueError(f"its zip is damaged: {str(error)[:80]!r}") from None
    return members


def _checksum(members: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name in _HASHED:
        digest.update(members[name])
    return digest.hexdigest()
