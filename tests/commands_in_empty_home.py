"""A program for test_telemetry.py: runs commands and reports what each did beside its work.

    python commands_in_empty_home.py REPORT COMMANDS

COMMANDS is a JSON list of lists of words. REPORT becomes a JSON list with, for each command, its
exit code, the names that Python asked for, the packets that found no network, and the files that
are new in the home and in the directory of temporary files. Within a process a library is imported
once, so a file that an import writes is reported with the first command that imports it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from network_guard import NetworkError, refuse_the_network

from catgan.cli.app import main


def packets() -> int:
    """How often anything in this network namespace, native code too, tried to send a packet."""
    lines = [line.split() for line in Path("/proc/self/net/snmp").read_text().splitlines()]
    (names, values) = [line for line in lines if line[0] == "Ip:"]
    counters = dict(zip(names, values, strict=True))
    version_6 = Path("/proc/self/net/snmp6")
    if version_6.exists():
        counters |= dict(line.split() for line in version_6.read_text().splitlines())
    counted = ("OutRequests", "OutNoRoutes", "Ip6OutRequests", "Ip6OutNoRoutes")
    return sum(int(counters.get(name, 0)) for name in counted)


def files() -> set[str]:
    """Every file in the home and among the temporary files."""
    roots = [Path(os.environ[name]) for name in ("HOME", "TMPDIR")]
    return {str(path) for root in roots for path in root.rglob("*") if path.is_file()}


def watch() -> list[str]:
    """Refuse the network from now on; the list grows with what was asked for."""
    asked: list[str] = []

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        try:
            refuse_the_network(event, arguments)
        except NetworkError as error:  # kept, as whoever asked may be content without an answer
            asked.append(str(error))
            raise

    sys.addaudithook(hook)
    return asked


def run(commands: list[list[str]], isolated: bool) -> list[dict]:
    """What each command did."""
    asked, report = watch(), []
    for words in commands:
        known, names, sent = files(), len(asked), packets() if isolated else 0
        sys.argv = ["catgan", *words]
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        report.append(
            {
                "command": words,
                "code": code,
                "asked": asked[names:],
                "packets": packets() - sent if isolated else 0,
                "files": sorted(files() - known),
            }
        )
    return report


if __name__ == "__main__":
    out, commands = sys.argv[1:]
    result = run(json.loads(commands), isolated="ISOLATED" in os.environ)
    Path(out).write_text(json.dumps(result))
