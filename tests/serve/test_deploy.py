"""The files in deploy/, as far as they can be checked without running them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from catgan.serve.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"


def documents():
    yaml = pytest.importorskip("yaml", reason="no PyYAML: the manifest is NOT checked")
    return list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text("utf-8")))


def commands():
    """Yield the name of each file and the arguments of `catgan` in it."""
    (unit,) = re.findall(
        r"(?m)^ExecStart=\S+/catgan (.*)$", (DEPLOY / "catgan.service").read_text("utf-8")
    )
    yield "catgan.service", shlex.split(unit)
    (container,) = re.findall(
        r"(?m)^CMD \[(\"serve\".*)\]$", (DEPLOY / "Containerfile").read_text("utf-8")
    )
    yield "Containerfile", re.findall('"([^"]*)"', container)
    (arguments,) = re.findall(
        r"(?m)^ +args: \[(.*)\]$", (DEPLOY / "kubernetes.yaml").read_text("utf-8")
    )
    yield "kubernetes.yaml", re.findall('"([^"]*)"', arguments)


def test_every_command_uses_existing_options():
    from typer.main import get_command

    from catgan.cli.app import app

    serve = get_command(app).commands["serve"]
    names = [name for name, _ in commands()]
    assert names == ["catgan.service", "Containerfile", "kubernetes.yaml"]
    for name, (command, *arguments) in commands():
        assert command == "serve", name
        serve.make_context("serve", list(arguments))  # parses without running


def test_process_managers_wait_longer_than_grace():
    unit = (DEPLOY / "catgan.service").read_text("utf-8")
    (stop,) = re.findall(r"(?m)^TimeoutStopSec=(\d+)$", unit)
    manifest = (DEPLOY / "kubernetes.yaml").read_text("utf-8")
    (pod,) = re.findall(r"terminationGracePeriodSeconds: (\d+)", manifest)
    for name, arguments in commands():
        options = dict(zip(arguments[1::2], arguments[2::2], strict=False))
        grace = float(options.get("--grace", Settings.grace))
        assert grace < {"catgan.service": int(stop), "kubernetes.yaml": int(pod)}.get(name, 1e9)


def test_kubernetes_manifest_matches_schema():
    validate = pytest.importorskip(
        "kubernetes_validate", reason="no kubernetes-validate: the manifest is NOT checked"
    )
    kinds = []
    for document in documents():
        validate.validate(document, validate.latest_version(), strict=True)
        kinds.append(document["kind"])
    assert {"Deployment", "Service", "HorizontalPodAutoscaler"} <= set(kinds)


def test_container_has_no_privileges():
    deployment = next(each for each in documents() if each["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert {"readinessProbe", "livenessProbe"} <= set(container)
    text = (DEPLOY / "Containerfile").read_text("utf-8")
    assert re.search(r"(?m)^USER 65532", text)
    assert re.search(r"(?m)^HEALTHCHECK", text)


def test_systemd_accepts_unit():
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze: the unit is NOT checked")
    done = subprocess.run(
        ["systemd-analyze", "verify", DEPLOY / "catgan.service"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    complaints = [line for line in done.stderr.splitlines() if "catgan.service" in line]
    assert all("/opt/catgan/bin/catgan is not executable" in each for each in complaints)


def test_openapi_document_is_valid():
    validator = pytest.importorskip(
        "openapi_spec_validator", reason="no openapi-spec-validator: /openapi.json is NOT checked"
    )
    from catgan.serve.openapi import describe

    validator.validate(describe(Settings(), 128))
