"""Check every locked dependency for known vulnerabilities, with pip-audit.

    python tools/audit.py .venv/tools/bin/pip-audit [LOCK FILE ...]

Exit status: 0 if none is known, 1 if there are some, 3 if the check was incomplete. The advisories
are fetched from the network.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

FILES = sorted((Path(__file__).resolve().parents[1] / "requirements").glob("*.txt"))


def main() -> int:
    """Audit the lock files and return the exit status."""
    command, *paths = sys.argv[1:]
    files = [Path(path) for path in paths] or FILES
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory, "report.json")
        options = ["--disable-pip", "--require-hashes", "--format=json", f"--output={report}"]
        options += [f"--requirement={path}" for path in files]
        done = subprocess.run([command, *options], capture_output=True, text=True, check=False)
        if not report.is_file() or not report.read_bytes():
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1][:300]
            print(f"NOT AUDITED: the advisories cannot be read ({reason})", file=sys.stderr)
            return 3
        dependencies = json.loads(report.read_bytes())["dependencies"]
    audited = [each for each in dependencies if "vulns" in each]
    vulnerable = [each for each in audited if each["vulns"]]
    for each in vulnerable:
        for advisory in each["vulns"]:
            fixed = ", ".join(advisory["fix_versions"]) or "no version yet"
            print(f"{each['name']} {each['version']}: {advisory['id']}, fixed in {fixed}")
    for each in dependencies:
        if "vulns" not in each:
            print(f"{each['name']}: not audited ({each.get('skip_reason', 'no reason given')})")
    print(f"{len(audited)} dependencies audited, {len(vulnerable)} with a known vulnerability")
    if vulnerable:
        return 1
    if len(audited) < len(dependencies):
        print("NOT AUDITED: there are no advisories for some dependencies", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
