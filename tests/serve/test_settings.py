"""The limits, and the command's options for them."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields

import pytest
from command_line import catgan as catgan_command

from catgan.cli import serve as cli_serve
from catgan.errors import CatganError
from catgan.serve import settings
from catgan.serve.settings import Settings, usable_cores


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"workers": 0}, "--workers 0 is out of range"),
        ({"queue": 100}, "--queue 100 has no room for one request of 120 images"),
        ({"grace": 0.5}, "--drain 1 is longer than --grace 0.5"),
        ({"rate": float("nan")}, "--rate nan is out of range"),
        ({"header_timeout": 0}, "--header-timeout 0 is out of range"),
        ({"trusted_proxies": ("*",)}, "--trusted-proxy '*' is no address"),
        ({"max_buffered": 0}, "--max-buffered 0 is out of range"),
        ({"token": "short"}, "shorter than 16"),
        ({"token": "nöt-ascii-but-long-enough"}, "ASCII"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(changes, words):
    with pytest.raises(CatganError) as caught:
        Settings(**changes)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_token_is_not_shown():
    word = "0123456789abcdef"
    assert word not in repr(Settings(token=word))


def test_the_commands_defaults_are_those_of_the_settings():
    options = inspect.signature(cli_serve.serve).parameters
    renamed = {"trusted_proxies": "trusted_proxy", "cors_origins": "cors_origin"}
    for each in fields(Settings):
        if each.name in renamed:
            assert options[renamed[each.name]].default is None
        elif each.default is not MISSING and each.name != "token":
            assert options[each.name].default == each.default, each.name


@pytest.mark.parametrize(
    ("limit", "cores"),
    [("max 100000", None), ("100000 100000", 1), ("50000 100000", 1), ("nonsense", None)],
)
def test_a_containers_limit_of_cores_is_kept(tmp_path, monkeypatch, limit, cores):
    monkeypatch.setattr(settings, "_CPU_LIMIT", tmp_path / "none")
    all_of_them = usable_cores()
    (tmp_path / "cpu.max").write_text(limit + "\n")
    monkeypatch.setattr(settings, "_CPU_LIMIT", tmp_path / "cpu.max")
    assert usable_cores() == (cores or all_of_them)


def test_the_token_comes_from_a_file_or_the_environment(tmp_path, monkeypatch):
    path = tmp_path / "token"
    path.write_text("  a-token-of-some-length\n")
    monkeypatch.delenv(cli_serve.TOKEN_VARIABLE, raising=False)
    assert cli_serve._read_token(None) is None
    assert cli_serve._read_token(path) == "a-token-of-some-length"
    monkeypatch.setenv(cli_serve.TOKEN_VARIABLE, "another-token-as-long")
    assert cli_serve._read_token(None) == "another-token-as-long"
    with pytest.raises(CatganError, match="leave out one"):
        cli_serve._read_token(path)


def test_a_token_file_that_is_none_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv(cli_serve.TOKEN_VARIABLE, raising=False)
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name in ("absent", "empty", "binary", "."):
        with pytest.raises(CatganError, match="token"):
            cli_serve._read_token(tmp_path / name)


def test_mistakes_on_the_command_line_end_in_one_line(tmp_path):
    pytest.importorskip("uvicorn", reason="the extra serve is not installed: NOT tested")
    from artifacts import write

    cats = write(tmp_path / "cats.onnx")
    (tmp_path / "other").mkdir()
    twin = write(tmp_path / "other" / "cats.onnx")
    spaced = write(tmp_path / "my cats.onnx")
    assert "no such" in catgan_command("serve", tmp_path / "no.onnx", code=2).lower()
    assert "is there already" in catgan_command("serve", cats, twin, "--port", 0, code=2)
    assert "cannot be an address" in catgan_command("serve", spaced, "--port", 0, code=2)
    assert "cannot listen" in catgan_command("serve", cats, "--host", "192.0.2.1", code=2)
    assert "--queue 7" in catgan_command("serve", cats, "--queue", 7, code=2)
