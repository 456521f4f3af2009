"""Ask for known vulnerabilities of every locked dependency, with pip-audit.

python tools/audit.py .venv/tools/bin/pip-audit [LOCK FILE ...]

Ends with 0 when none is known, 1 when some are, 3 when it could not be found out: the advisories
are on the network, and no copy of them comes with the tool.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

FILES = sorted((Path(__file__).resolve().parents[1] / "requirements").glob("*.txt"))


def main() -> int:
    """What the module says."""
    command, *given = sys.argv[1:]
    files = [Path(name) for name in given] or FILES
    with tempfile.TemporaryDirectory() as place:
        answer = Path(place, "answer.json")
        options = ["--disable-pip", "--require-hashes", "--format=json", f"--output={answer}"]
        options += [f"--requirement={path}" for path in files]
        said = subprocess.run([command, *options], capture_output=True, text=True, check=False)
        if not answer.is_file() or not answer.read_bytes():
            last = (said.stderr.strip().splitlines() or ["no reason given"])[-1][:300]
            print(f"NOT AUDITED: the advisories could not be asked ({last})", file=sys.stderr)
            return 3
        dependencies = json.loads(answer.read_bytes())["dependencies"]
    asked = [each for each in dependencies if "vulns" in each]
    found = [each for each in asked if each["vulns"]]
    for each in found:
        for one in each["vulns"]:
            mended = ", ".join(one["fix_versions"]) or "no version yet"
            print(f"{each['name']} {each['version']}: {one['id']}, mended in {mended}")
    for each in dependencies:
        if "vulns" not in each:
            print(f"{each['name']}: not asked ({each.get('skip_reason', 'no reason given')})")
    print(f"{len(asked)} dependencies asked about, {len(found)} with a known vulnerability")
    if found:
        return 1
    if len(asked) < len(dependencies):
        print("NOT AUDITED: the advisories do not answer for all of them", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
