"""Fetch ONNX Runtime for browsers from npm into the package, for `catgan web`.

    python tools/fetch_web_runtime.py

Copies two files of the npm package `onnxruntime-web` (MIT), with the version and checksum below, to
src/catgan/web/runtime/. This directory is not in git but is part of a built wheel. Needs npm.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "1.30.0"
INTEGRITY = (  # in the format of npm's lock files
    "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
)
RUNTIME = Path(__file__).parents[1] / "src" / "catgan" / "web" / "runtime"
SCRIPT = "package/dist/ort.wasm.bundle.min.mjs"
PROGRAM = "package/dist/ort-wasm-simd-threaded.wasm"
LICENSE = f"""onnxruntime-web {VERSION}, from https://github.com/microsoft/onnxruntime

MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def without_source_map(script: bytes) -> bytes:
    """Return the script without the reference to its source map, which is not copied."""
    return re.sub(rb"^//# sourceMappingURL=\S*\s*\Z", b"", script, flags=re.MULTILINE)


def main() -> None:
    """Fetch and check the package, and copy the two files."""
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("npm is not installed: install it, or build catgan without `catgan web`")
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            [npm, "pack", "--silent", f"onnxruntime-web@{VERSION}"],
            cwd=directory,
            check=False,
            stdout=subprocess.DEVNULL,
        )
        if done.returncode:
            sys.exit(f"npm cannot fetch onnxruntime-web {VERSION}: try again with a network")
        (archive,) = Path(directory).glob("*.tgz")
        data = archive.read_bytes()
        checksum = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
        if checksum != INTEGRITY:
            sys.exit(
                f"onnxruntime-web {VERSION}: expected the checksum {INTEGRITY}, got {checksum}; "
                "nothing is copied: check VERSION and INTEGRITY in tools/fetch_web_runtime.py"
            )
        with tarfile.open(archive) as files:
            script, program = (files.extractfile(name).read() for name in (SCRIPT, PROGRAM))
    script = without_source_map(script)
    RUNTIME.mkdir(parents=True, exist_ok=True)
    (RUNTIME / "LICENSE").write_text(LICENSE)
    (RUNTIME / "ort.mjs").write_bytes(script)
    # Written last and atomically: make treats this file as the target for all of them.
    partial = RUNTIME / "ort.wasm.gz.partial"
    partial.write_bytes(gzip.compress(program, 9, mtime=0))
    partial.replace(RUNTIME / "ort.wasm.gz")
    for path in sorted(RUNTIME.iterdir()):
        print(f"{path.stat().st_size:>10,}  {path.relative_to(RUNTIME.parents[3])}")


if __name__ == "__main__":
    main()
