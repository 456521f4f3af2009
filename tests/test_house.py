"""The house rules that a machine can check: which room may import which, and what stays light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "catgan"

# Each room, and the rooms it may import from; the modules beside the rooms are open to all.
ROOMS = {
    "cli": {
        "data",
        "evaluation",
        "exporters",
        "generation",
        "inspect",
        "networks",
        "review",
        "runs",
        "serve",
        "training",
        "web",
    },
    "data": set(),
    "networks": set(),
    "generation": set(),
    "pages": set(),
    "review": {"data", "pages"},
    "evaluation": {"data", "networks", "pages"},
    "pretrained": set(),
    "web": {"generation"},
    "serve": {"generation", "web"},
    "inspect": {"data", "evaluation", "pages"},
    "runs": {"data", "networks", "generation", "evaluation", "pages"},
    "exporters": {"data", "networks", "generation", "evaluation", "runs"},
    "training": {"data", "networks", "generation", "evaluation", "runs"},
    "recipes": set(),
}


def imports(path: Path) -> set[str]:
    """The parts of catgan that a module imports, anywhere in it, by their first name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("catgan.")}
    return found


def test_every_room_is_listed():
    assert {p.name for p in SOURCE.iterdir() if p.is_dir() and p.name != "__pycache__"} == set(
        ROOMS
    )


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_imports_only_what_it_may(room):
    for path in (SOURCE / room).glob("**/*.py"):
        foreign = imports(path) & set(ROOMS)
        assert foreign <= ROOMS[room] | {room}, path


@pytest.mark.parametrize("room", ["data", "generation", "web", "serve"])
def test_light_rooms_never_import_torch(room):
    modules = [
        "catgan." + str(path.relative_to(SOURCE).with_suffix("")).replace("/", ".")
        for path in (SOURCE / room).glob("**/*.py")
        if path.name != "__init__.py"
    ]
    script = f"import sys, {', '.join(modules)}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_nothing_pickled_is_loaded_or_written():
    for path in SOURCE.glob("**/*.py"):
        text = path.read_text()
        assert "import pickle" not in text, path
        assert not re.search(r"(?<!safetensors\.)\btorch\.save\b", text), path
        assert "allow_pickle=True" not in text, path
        for line in text.splitlines():
            loads = re.search(r"(?<!safetensors\.)\btorch\.load\(", line)
            assert not loads or "weights_only=True" in line, path


def imported_when_run(tree: ast.AST) -> set[str]:
    """The packages that a module imports, but for those under `if TYPE_CHECKING:`."""
    found, left = set(), [tree]
    while left:
        node = left.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            left += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
        left += ast.iter_child_nodes(node)
    return found


def test_onnx_runtime_is_imported_in_one_place_which_turns_its_telemetry_off():
    roots = [SOURCE, *(SOURCE.parents[1] / name for name in ("benchmarks", "tools"))]
    for path in (path for root in roots for path in root.glob("**/*.py")):
        assert "onnxruntime" not in imported_when_run(ast.parse(path.read_text())), path


# What Windows lacks. `make lint` has mypy look for the rest of it.
POSIX_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
POSIX_NAMES = {
    "os": {
        *("chown", "fchmod", "fchown", "fork", "getegid", "geteuid", "getgid", "getloadavg"),
        *("getuid", "killpg", "mkfifo", "nice", "pread", "preadv", "pwrite", "pwritev"),
        *("sched_getaffinity", "sched_setaffinity", "setsid", "statvfs", "sysconf", "uname"),
        *("wait", "waitpid", "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_SYNC"),
    },
    "signal": {"SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGUSR1"},
}


def test_nothing_asks_for_posix_without_a_way_round():
    for path in SOURCE.glob("**/*.py"):
        text = path.read_text("utf-8")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                assert not {alias.name for alias in node.names} & POSIX_MODULES, path
            elif isinstance(node, ast.ImportFrom):
                assert node.module not in POSIX_MODULES, path
                assert node.module not in POSIX_NAMES, f"{path}: from {node.module} import"
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                module, name = node.value.id, node.attr
                if name in POSIX_NAMES.get(module, ()):
                    assert f'hasattr({module}, "{name}")' in text, f"{path}: {module}.{name}"


def test_no_text_is_read_or_written_in_the_encoding_of_the_system():
    """Windows' is not UTF-8."""
    for path in SOURCE.glob("**/*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            named = any(keyword.arg == "encoding" for keyword in node.keywords)
            where = f"{path}:{node.lineno}"
            if node.func.attr == "read_text":
                assert named or node.args, where
            elif node.func.attr == "write_text":
                assert named or len(node.args) > 1, where


def test_the_loop_is_readable_at_one_sitting():
    assert len((SOURCE / "training" / "loop.py").read_text().splitlines()) <= 250


# Words that this code once had for things that the field has words for: whole identifiers.
PRIVATE_WORDS = {
    *("look", "look_at", "looked_at", "judge", "judged", "judgment", "Memory", "Draws", "Tally"),
    *("portion", "portions", "sight", "beginnings", "settle", "settled", "together", "TOGETHER"),
    *("leads", "drawn", "Drawer", "draw", "drawing", "refused", "refusal", "doubles", "unsound"),
    *("deviation", "deviations", "twins", "learnt", "goes_on", "sheet", "word", "place"),
}
PRIVATE_PREFIXES = ("MOST_", "FEWEST", "LEAST_", "FAINTEST", "PLAINEST", "BRIGHTEST")


def test_identifiers_are_the_fields_words():
    for path in SOURCE.glob("**/*.py"):
        with path.open("rb") as file:
            names = {t.string for t in tokenize.tokenize(file.readline) if t.type == tokenize.NAME}
        assert not names & PRIVATE_WORDS, path
        assert not [each for each in names if each.lstrip("_").startswith(PRIVATE_PREFIXES)], path
