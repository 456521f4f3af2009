"""Write the lock files in requirements/ from pyproject.toml and constraints.txt, with uv.

`make lock` runs it. pip compares every package that it installs with the hashes in these files:

- torch-cpu.txt: PyTorch's CPU builds, which are on PyTorch's own index, not on PyPI. They need
  their own file: of two allowed builds, pip prefers the one whose hash an index states, and a local
  file has no such hash;
- locked.txt: everything else except PyTorch's GPU libraries, with PyTorch's builds on PyPI;
- gpu.txt: the libraries that PyTorch's build on PyPI needs on Linux, unlike the CPU builds;
- serve.txt: the part of locked.txt that a container of `catgan serve` needs;
- tools.txt and fuzz.txt: the additions for `make audit`, `make sbom`, `make lock` and `make fuzz`;
- jax.txt, tensorflow.txt and triton.txt: the additional test environments of `make test-slow`.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SEPARATE = ("tools", "fuzz", "jax", "tensorflow", "triton")  # each is resolved on its own
GPU = re.compile(r"(nvidia|cuda|triton)\b")
HEAD = "# Written by `make lock` ({tool}). pip installs nothing without a hash below.\n"

# The hashes of PyTorch's CPU builds, from PyTorch's index, for Python 3.11 to 3.13: Linux on x86-64
# and ARM, Windows. (On macOS, PyPI has the same build.) Update them with the version.
TORCH = "2.13.0"
TORCH_CPU_HASHES = (
    "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",  # cp311, x86_64
    "84453b69508ec79902f899c5ed9495acb9e2bbe9fda5f1d5d6f19e3c3842e1a7",  # cp311, aarch64
    "10717d8b3b67c45a4788bf7ffc0bab1ea1e5ebbedd24466be6100102d141fac1",  # cp311, win_amd64
    "4ca4a9394b0c771238a4f73590fdbbc4debad85ed0fa63d026ae1b085da7d6e2",  # cp312, x86_64
    "6f307c2c32d764ffc6ff6893b801fad6d4752f3e67966cb8abf1843427c02604",  # cp312, aarch64
    "a8b450c1e58e5800e5b4691dac412f8d2d65a1dc3298166f91596603a3531e6f",  # cp312, win_amd64
    "3fbf9c9d1f3c10c2d59d04aca426dee9ccc6ceb32d255c61e93acc3b4f75fae6",  # cp313, x86_64
    "0b8f7d0423027ae8b90c7977c627f3379f325363a08224dffad9b4b2d684a83d",  # cp313, aarch64
    "a17ff48608634db245e17e8bb00a9558554a49aeb1e4f5fe6cd039af2a10515b",  # cp313, win_amd64
)


def resolve(uv: str, sources: list[str], *options: str) -> list[str]:
    """Return what uv resolves for all platforms, one entry per requirement with its hashes."""
    command = [
        *(uv, "pip", "compile", "--quiet", "--universal", "--python-version=3.11"),
        *(
            "--generate-hashes",
            "--no-header",
            "--no-annotate",
        ),
        *options,
        *sources,
    ]
    text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return re.split(r"\n(?=\S)", text.strip())


def main() -> None:
    """Write all lock files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--uv", default="uv", help="the command")
    uv = parser.parse_args().uv
    out = ROOT / "requirements"
    tool = subprocess.run([uv, "--version"], check=True, capture_output=True, text=True).stdout
    head = HEAD.format(tool=" ".join(tool.split()[:2]))
    entries = resolve(
        uv,
        ["pyproject.toml", "requirements/build.in"],
        "--extra=dev",  # includes all other extras except litert
        "--constraint=constraints.txt",
    )
    gpu = [entry for entry in entries if GPU.match(entry)]
    rest = [entry for entry in entries if not GPU.match(entry)]
    (torch,) = (entry.split()[0] for entry in rest if entry.startswith("torch=="))
    if torch != f"torch=={TORCH}":
        raise SystemExit(f"{torch}: TORCH_CPU_HASHES are those of torch=={TORCH}: update them")
    serving = resolve(
        uv,
        ["pyproject.toml", "requirements/build.in"],
        "--extra=serve",
        "--constraint=constraints.txt",
    )
    hashes = "".join(f" \\\n    --hash=sha256:{digest}" for digest in TORCH_CPU_HASHES)
    for name, requirements in (
        ("torch-cpu.txt", [f"{torch}+cpu{hashes}"]),
        ("locked.txt", rest),
        ("gpu.txt", gpu),
        ("serve.txt", serving),
        *((f"{name}.txt", resolve(uv, [f"requirements/{name}.in"])) for name in SEPARATE),
    ):
        (out / name).write_text(head + "\n".join(requirements) + "\n")


if __name__ == "__main__":
    main()
