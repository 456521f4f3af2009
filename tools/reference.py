"""Write the reference pages that follow from the code.

    python tools/reference.py            # docs/reference/cli.md and configuration.md
    python tools/reference.py --check    # exit with 1 if a page is not what this would write

The command-line reference comes from the typer commands, the configuration reference from the
dataclasses in `config.py`: each setting's type, default, range and comment. `make test` runs the
check (`tests/tools/test_reference.py`).
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import io
import sys
import tokenize
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from typer.main import get_command

from catgan import config, network_config
from catgan.cli.app import app

PAGES = Path(__file__).parents[1] / "docs" / "reference"
NOTICE = "<!-- Written by tools/reference.py: do not edit. -->"

COMMANDS_INTRODUCTION = """\
# Command line

Every command and option, as `catgan COMMAND --help` shows them. Seeds are written `7`, `0-63` or
`1,5,9-12`. An option whose name has *repeatable* in its description may be given several times.

Exit codes: 0 done; 1 the output has no reader any more (`catgan ... | head`), or a bug, with its
traceback; 2 something that you can fix, in one line; 3 training diverged or collapsed; 128 + n
stopped by signal n, everything saved.

| environment variable | effect |
|---|---|
| `CATGAN_CACHE_DIR` | Directory of prepared photos, cached features and downloaded weights |
| `CATGAN_PLAIN` | `1`: compute in float32 with PyTorch's documented operators, without any probe |
| `CATGAN_SERVE_TOKEN` | The token that `catgan serve` requires |
| `ORT_DISABLE_TELEMETRY` | `0`: leave ONNX Runtime's telemetry on; catgan turns it off otherwise |
"""

SETTINGS_INTRODUCTION = """\
# Configuration

Every setting of a training run. Set one with `catgan train ... --set section.key=value`; a run's
`config.toml` holds all of them. Values are written as in TOML (`2e-4`, `true`); a bare word is a
string. All durations are in images seen.

A resumed run may change these settings only: {resumable}.
"""

SETTINGS_HEADER = ["setting", "type", "default", "range", "meaning"]
TYPE_NAMES = {int: "integer", float: "number", bool: "true or false", str: "string"}


def command_page() -> str:
    """Return the reference of all commands as Markdown."""
    group = get_command(app)
    sections = [COMMANDS_INTRODUCTION]
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        arguments = [each for each in command.params if each.param_type_name == "argument"]
        options = [each for each in command.params if each.param_type_name == "option"]
        usage = " ".join(["catgan", name, *map(_argument_usage, arguments), "[OPTIONS]"])
        sections.append(f"## catgan {name}\n\n{_prose(command.help)}\n\n```console\n{usage}\n```\n")
        if arguments:
            rows = [[f"`{_metavar(each)}`", each.help] for each in arguments]
            sections.append(_table(["argument", "meaning"], rows))
        if options:
            rows = [
                [_option_names(each), _option_value(each), _option_default(each), each.help]
                for each in options
            ]
            sections.append(_table(["option", "value", "default", "meaning"], rows))
    return f"{NOTICE}\n\n" + "\n".join(sections)


def settings_page() -> str:
    """Return the reference of all settings as Markdown."""
    hints = typing.get_type_hints(config.Config)
    resumable = [*config.RESUMABLE_KEYS, *(f"{name}.*" for name in config.RESUMABLE_SECTIONS)]
    names = ", ".join(f"`{name}`" for name in resumable)
    sections = [SETTINGS_INTRODUCTION.format(resumable=names)]
    for field in dataclasses.fields(config.Config):
        if field.name == "network":
            sections += _network_sections()
        elif dataclasses.is_dataclass(cls := hints[field.name]):
            sections.append(f"## [{field.name}]\n\n{_prose(cls.__doc__)}\n")
            rows = _settings_rows(field.name, cls, dataclasses.fields(cls))
            sections.append(_table(SETTINGS_HEADER, rows))
    sections.append(
        "## Recipes\n\nThe settings in which a recipe differs from the defaults above. A cell is "
        "empty where the family has no such setting.\n"
    )
    sections.append(_recipes_table())
    return f"{NOTICE}\n\n" + "\n".join(sections)


# -- commands -----------------------------------------------------------------------------------


def _argument_usage(parameter: Any) -> str:
    name = _metavar(parameter)
    name += "..." if parameter.nargs == -1 else ""
    return name if parameter.required else f"[{name}]"


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _option_names(parameter: Any) -> str:
    names = ", ".join(f"`{name}`" for name in parameter.opts)
    others = ", ".join(f"`{name}`" for name in parameter.secondary_opts)
    return f"{names} / {others}" if others else names


def _option_value(parameter: Any) -> str:
    if parameter.is_flag:
        return ""
    if parameter.metavar:
        return f"`{parameter.metavar}`"
    kind = parameter.type.name.removesuffix(" range")
    low, high = (getattr(parameter.type, name, None) for name in ("min", "max"))
    if low is not None and high is not None:
        return f"{kind}, {low} to {high}"
    return kind if low is None else f"{kind}, at least {low}"


def _option_default(parameter: Any) -> str:
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    if parameter.is_flag:
        return f"`{parameter.opts[0]}`" if parameter.default else "off"
    return "" if parameter.default is None else f"`{parameter.default}`"


# -- settings -----------------------------------------------------------------------------------


def _network_sections() -> list[str]:
    """Return what all families of networks share, then what each has of its own."""
    base, families = network_config.BaseNetworkConfig, typing.get_args(network_config.NetworkConfig)
    shared = dataclasses.fields(base)
    rows = _settings_rows("network", base, shared)
    choices = ", ".join(f"`{cls.family}`" for cls in families)
    rows[0][1:3] = [choices, _value(config.Config().network.family)]  # a constant in each family
    sections = [f"## [network]\n\n{_prose(base.__doc__)}\n", _table(SETTINGS_HEADER, rows)]
    names = {field.name for field in shared}
    for cls in families:
        sections.append(f"### network.family = {cls.family}\n\n{_prose(cls.__doc__)}\n")
        own = [field for field in dataclasses.fields(cls) if field.name not in names]
        if own:
            sections.append(_table(SETTINGS_HEADER, _settings_rows("network", cls, own)))
        else:
            sections.append("No settings of its own.\n")
    return sections


def _settings_rows(
    section: str, cls: type, fields: Sequence[dataclasses.Field[Any]]
) -> list[list[str]]:
    hints, comments, ranges = typing.get_type_hints(cls), _comments(cls), _ranges(cls)
    rows = []
    for field in fields:
        name = f"{section}.{field.name}"
        rows.append(
            [
                f"`{name}`",
                _type_name(hints[field.name]),
                _value(field.default),
                ranges.get(name, ""),
                _capitalized(comments.get(field.name, "")),
            ]
        )
    return rows


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def _type_name(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return ", ".join(f"`{choice}`" for choice in typing.get_args(hint))
    return TYPE_NAMES.get(hint, str(hint))


def _value(value: Any) -> str:
    if value is dataclasses.MISSING:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:_}`" if isinstance(value, int) else f"`{value}`"


def _comments(cls: type) -> dict[str, str]:
    """Return what the source says about each field: comments above and beside it, a docstring."""
    source = inspect.getsource(cls)
    beside: dict[int, str] = {}
    alone: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            only = not token.line[: token.start[1]].strip()
            (alone if only else beside)[token.start[0]] = token.string.lstrip("# ")
    found: dict[str, str] = {}
    (definition,) = ast.parse(source).body
    name = ""
    for node in getattr(definition, "body", []):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
            above: list[str] = []
            line = node.lineno - 1
            while line in alone:
                above.insert(0, alone[line])
                line -= 1
            own = [beside[n] for n in range(node.lineno, node.end_lineno + 1) if n in beside]  # type: ignore[operator]
            found[name] = " ".join([*above, *own])
        elif name and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found[name] = " ".join([found[name], *str(node.value.value).split()]).strip()
        else:
            name = ""
    return found


def _ranges(cls: type) -> dict[str, str]:
    """Return the limits that the class checks: `check_range("section.key", value, low, high)`.

    Those of its subclasses follow.
    """
    found: dict[str, str] = {}
    source = "\n".join(inspect.getsource(each) for each in (cls, *cls.__subclasses__()))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and len(node.args) == 4:
            name, _, low, high = node.args
            if isinstance(name, ast.Constant):
                key, _, condition = str(name.value).partition(" ")
                limits = " ".join([_limit(low), "to", _limit(high), condition]).strip()
                found[key] = f"{found[key]}; {limits}" if key in found else limits
    for key in ("resolution", "feature_resolution"):
        found[f"network.{key}"] = ", ".join(map(str, getattr(network_config, f"{key.upper()}S")))
    return found


def _limit(node: ast.expr) -> str:
    if isinstance(node, ast.IfExp):  # in general, before the exception
        node = node.orelse
    value = _number(node)
    if value is None:
        return f"`{ast.unparse(node).removeprefix('self.')}`"
    if isinstance(value, int) and value > 10**9:
        return ast.unparse(node).replace(" ** ", "^")
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def _number(node: ast.expr) -> float | None:
    """Return the value of a constant, a power or a difference of constants."""
    if isinstance(node, ast.Constant):
        return node.value  # type: ignore[return-value]
    if isinstance(node, ast.BinOp):
        left, right = _number(node.left), _number(node.right)
        if left is not None and right is not None:
            return left**right if isinstance(node.op, ast.Pow) else left - right
    return None


def _recipes_table() -> str:
    names = config.recipe_names()
    recipes = {name: _flat(config.load_recipe(name)) for name in names}
    defaults: dict[str, str] = {}
    for cls in typing.get_args(network_config.NetworkConfig):
        defaults |= _flat(config.Config(network=cls()))
    defaults |= _flat(config.Config())
    rows = []
    order = [field.name for field in dataclasses.fields(config.Config)]
    for key in sorted(defaults, key=lambda key: order.index(key.split(".")[0])):
        values = [recipe.get(key, "") for recipe in recipes.values()]  # "": not in this family
        if key != "recipe" and any(value not in ("", defaults[key]) for value in values):
            rows.append([f"`{key}`", *values])
    return _table(["setting", *(f"`{name}`" for name in names)], rows)


def _flat(settings: Any) -> dict[str, str]:
    return {
        (f"{section}.{key}" if key else section): _plain(value)
        for section, table in dataclasses.asdict(settings).items()
        for key, value in (table.items() if isinstance(table, dict) else [("", table)])
    }


def _plain(value: Any) -> str:
    return _value(value).strip("`")


# -- Markdown -----------------------------------------------------------------------------------


def _prose(text: str | None) -> str:
    return inspect.cleandoc(text or "").replace("\b", "")


def _table(header: list[str], rows: Sequence[Sequence[str | None]]) -> str:
    cells: list[Sequence[str | None]] = [header, ["---"] * len(header), *rows]
    lines = ["|".join(f" {_cell(cell)} " if cell else " " for cell in row) for row in cells]
    return "".join(f"|{line}|\n" for line in lines)


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def main() -> None:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    check = parser.parse_args().check
    different = []
    for name, text in pages().items():
        path = PAGES / name
        if check and (not path.exists() or path.read_text("utf-8") != text):
            different.append(name)
        elif not check:
            path.write_text(text, "utf-8")
    if different:
        sys.exit(f"{', '.join(different)}: not current; run python tools/reference.py")


def pages() -> dict[str, str]:
    """Return the text of each page by its file name."""
    return {"cli.md": command_page(), "configuration.md": settings_page()}


if __name__ == "__main__":
    main()
