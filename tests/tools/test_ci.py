"""`.ci/run` with fakes for make and Debian's tools: what it installs, and when it fails."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

CI = Path(__file__).parents[2] / ".ci" / "run"
BASH = shutil.which("bash")

pytestmark = pytest.mark.skipif(BASH is None, reason="no bash")

LOG = 'echo "$(basename "$0") $*${CATGAN_BROWSER_TESTS:+ browser $CATGAN_BROWSER_TESTS}" >> "$LOG"'
MAKE = LOG + '; if [ "$1" = web-runtime ]; then mkdir -p {0}; touch {0}/ort.wasm.gz; fi'.format(
    "src/catgan/web/runtime"
)
INSTALL = "apt-get install -y -qq --no-install-recommends"


@pytest.fixture
def machine(tmp_path):
    """Return a function that runs .ci/run where only the given programs are installed."""
    (tmp_path / "repository" / ".ci").mkdir(parents=True)
    shutil.copy(CI, tmp_path / "repository" / ".ci")
    (tmp_path / "bin").mkdir()
    for name in ("dirname", "basename", "mkdir", "touch"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))

    def run(ci=True, user=0, **programs):
        for name, body in ({"id": f"echo {user}", "make": MAKE} | programs).items():
            path = tmp_path / "bin" / name.replace("_", "-")
            path.write_text(f"#!{BASH}\n{body}\n")
            path.chmod(0o755)
        log = tmp_path / "log"
        environment = {"PATH": str(tmp_path / "bin"), "LOG": str(log)}
        environment |= {"CI": "true"} if ci else {}
        done = subprocess.run(
            [BASH, tmp_path / "repository" / ".ci" / "run"],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        output = [line for line in (done.stdout + done.stderr).splitlines() if line]
        return done.returncode, log.read_text().splitlines() if log.is_file() else [], output

    return run


def test_ci_installs_what_is_missing_and_requires_the_browser(machine):
    code, calls, _ = machine(apt_get=LOG, npm="")
    assert code == 0
    assert calls == [
        "apt-get update -qq",
        f"{INSTALL} chromium",
        "make web-runtime",
        "make test browser required",
    ]


def test_ci_installs_nothing_that_is_already_installed(machine):
    code, calls, _ = machine(apt_get=LOG, npm="", google_chrome="")
    assert (code, calls) == (0, ["make web-runtime", "make test browser required"])


@pytest.mark.parametrize(
    "programs",
    [
        {"apt_get": "exit 100"},  # no network
        {"apt_get": LOG, "user": 1000},
        {},
    ],
)
def test_ci_fails_with_one_line_without_chromium(machine, programs):
    code, calls, output = machine(npm="", **programs)
    assert (code, calls) == (1, [])
    assert output == [".ci/run: could not install chromium: the tests in a browser need it"]


def test_ci_fails_without_the_runtime_for_browsers(machine):
    code, calls, output = machine(make=LOG, npm="", chromium="")
    assert (code, calls) == (1, ["make web-runtime"])
    assert output == [
        ".ci/run: npm could not fetch onnxruntime-web: the tests in a browser need it"
    ]


def test_outside_ci_missing_programs_are_named_and_tests_still_run(machine):
    code, calls, output = machine(ci=False, apt_get=LOG)
    assert (code, calls) == (0, ["make test"])
    assert output == [".ci/run: without chromium npm, tests in a browser are skipped"]


@pytest.mark.parametrize("ci", [True, False])
def test_exit_status_is_that_of_make(machine, ci):
    failing = f'{LOG}; [ "$1" != test ]'
    code, _, _ = machine(ci, make=f"{MAKE}; {failing}", npm="", chromium="")
    assert code == 1
