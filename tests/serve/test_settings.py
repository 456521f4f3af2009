"""The settings, and the options of `catgan serve`."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import MISSING, fields
from unittest import mock

import pytest
from artifacts import write
from command_line import catgan as catgan_command

from catgan.cli import serve as cli_serve
from catgan.errors import CatganError
from catgan.serve import settings
from catgan.serve.models import Models
from catgan.serve.settings import Settings, usable_cores


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workers": 0}, "--workers 0 is out of range"),
        ({"queue": 100}, "--queue 100 is too small for one request of 120 images"),
        ({"grace": 0.5}, "--drain 1 is longer than --grace 0.5"),
        ({"rate": float("nan")}, "--rate nan is out of range"),
        ({"header_timeout": 0}, "--header-timeout 0 is out of range"),
        ({"trusted_proxies": ("*",)}, "invalid --trusted-proxy '*'"),
        ({"max_buffered": 0}, "--max-buffered 0 is out of range"),
        ({"token": "short"}, "shorter than 16"),
        ({"token": "nöt-ascii-but-long-enough"}, "ASCII"),
    ],
)
def test_invalid_settings_are_rejected_in_one_line(changes, message):
    with pytest.raises(CatganError) as caught:
        Settings(**changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_repr_hides_token():
    token = "0123456789abcdef"  # noqa: S105
    assert token not in repr(Settings(token=token))


def test_every_setting_has_an_option_with_its_default():
    options = inspect.signature(cli_serve.serve).parameters
    renamed = {"trusted_proxies": "trusted_proxy", "cors_origins": "cors_origin"}
    for each in fields(Settings):
        if each.name in renamed:
            assert options[renamed[each.name]].default is None
        elif each.name == "token":
            assert options["token_file"].default is None
        elif each.default is not MISSING:
            assert options[each.name].default == each.default, each.name
        else:
            assert options[each.name].default is None


def test_importing_the_options_imports_no_server():
    script = (
        "import sys, catgan.cli.serve\n"
        "heavy = {'starlette', 'uvicorn', 'prometheus_client', 'torch', 'numpy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    ("limit", "cores"),
    [("max 100000", None), ("100000 100000", 1), ("50000 100000", 1), ("nonsense", None)],
)
def test_usable_cores_respects_container_limit(tmp_path, monkeypatch, limit, cores):
    monkeypatch.setattr(settings, "_CPU_LIMIT", tmp_path / "none")
    all_cores = usable_cores()
    (tmp_path / "cpu.max").write_text(limit + "\n")
    monkeypatch.setattr(settings, "_CPU_LIMIT", tmp_path / "cpu.max")
    assert usable_cores() == (cores or all_cores)


def test_token_is_read_from_file_or_environment(tmp_path, monkeypatch):
    path = tmp_path / "token"
    path.write_text("  a-token-of-some-length\n")
    monkeypatch.delenv(cli_serve.TOKEN_VARIABLE, raising=False)
    assert cli_serve._read_token(None) is None
    assert cli_serve._read_token(path) == "a-token-of-some-length"
    monkeypatch.setenv(cli_serve.TOKEN_VARIABLE, "another-token-as-long")
    assert cli_serve._read_token(None) == "another-token-as-long"
    with pytest.raises(CatganError, match="use one"):
        cli_serve._read_token(path)


def test_invalid_token_file_is_rejected(tmp_path, monkeypatch):
    monkeypatch.delenv(cli_serve.TOKEN_VARIABLE, raising=False)
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name in ("absent", "empty", "binary", "."):
        with pytest.raises(CatganError, match="token"):
            cli_serve._read_token(tmp_path / name)


def test_command_line_errors_are_one_line(tmp_path):
    pytest.importorskip("uvicorn", reason="the extra serve is not installed: NOT tested")
    from artifacts import write

    cats = write(tmp_path / "cats.onnx")
    (tmp_path / "other").mkdir()
    same_name = write(tmp_path / "other" / "cats.onnx")
    with_space = write(tmp_path / "my cats.onnx")
    assert "no such" in catgan_command("serve", tmp_path / "no.onnx", code=2).lower()
    assert "duplicate model name" in catgan_command("serve", cats, same_name, "--port", 0, code=2)
    assert "model's name in URLs" in catgan_command("serve", with_space, "--port", 0, code=2)
    assert "cannot listen" in catgan_command("serve", cats, "--host", "192.0.2.1", code=2)
    assert "--queue 7" in catgan_command("serve", cats, "--queue", 7, code=2)


def test_models_are_loaded_in_kept_memory(tmp_path):
    write(tmp_path / "cats.onnx")
    create, seen = Models.create, []

    def observed(*arguments):
        seen.append((block.__enter__.called, block.__exit__.called))
        return create(*arguments)

    with (
        mock.patch("catgan.cli.serve.kept_memory") as kept_memory,
        mock.patch("catgan.serve.models.Models.create", observed),
        mock.patch("catgan.serve.server.serve") as run_server,
    ):
        block = kept_memory.return_value
        cli_serve.serve([tmp_path / "cats.onnx"], port=0)
    assert seen == [(True, False)]
    run_server.assert_called_once()
    run_server.call_args.args[1].close()
