from __future__ import annotations

import http.client
import io
import json
import threading
from dataclasses import replace

import numpy as np
import pytest
from browser import browser
from PIL import Image

from catgan.data.faces.decisions import read_decisions, write_decisions
from catgan.data.faces.framing import Frame
from catgan.data.faces.gates import Gates, Measures
from catgan.data.faces.journal import FoundFace, FoundPhoto
from catgan.data.faces.selection import CropSelector
from catgan.errors import CatganError
from catgan.review.server import ReviewServer, review_in_browser

MEASURES = Measures(90.5, 0.01, 0.8, 0.02, 0.4, 2.5, 4.5, 40, 9.0, 170.0)


def photo(number: int, sharpness: float = 9.0) -> FoundPhoto:
    measures = replace(MEASURES, sharpness=sharpness)
    face = FoundFace(Frame(10.0 * number, 5, 30, 0), (0, 0, 9, 9), measures, number, 0)
    return FoundPhoto(f"cat<{number}>.jpg", f"{number}" * 64, None, (face,))


def read_crop(face: FoundFace) -> np.ndarray:
    return np.full((32, 32, 3), 40 * face.offset, np.uint8)


# Without the gate for near-duplicates, as plain gray images have the same hash.
SELECTOR = CropSelector([photo(1), photo(2, 1.0), photo(3)], read_crop, Gates(distance=-1), 32)
NEAR_DUPLICATES = CropSelector([photo(1), photo(2), photo(3)], read_crop, Gates(), 32)
CANDIDATES = SELECTOR({})


@pytest.fixture
def server(tmp_path):
    with ReviewServer(SELECTOR, {}, tmp_path / "decisions.json") as running:
        yield running


def request(server, method, path, body=None, host=None, secret=None):
    connection = http.client.HTTPConnection(server.host, timeout=10)
    base = secret if secret is not None else server.address.removeprefix(f"http://{server.host}")
    connection.request(method, base + path, body, {"Host": host or server.host})
    response = connection.getresponse()
    return response.status, response.read(), response


def test_page_shows_every_candidate_escaped(server):
    status, page, response = request(server, "GET", "")
    assert status == 200
    text = page.decode()
    assert text.count('class="card"') == 3
    assert "cat&lt;2&gt;.jpg" in text
    assert "cat<2>" not in text
    assert "blurred: sharpness 1.00 %" in text
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_images_are_the_crops(server):
    status, content, _ = request(server, "GET", "2.webp")
    assert status == 200
    picture = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert picture.shape == (32, 32, 3)
    assert abs(int(picture.mean()) - 120) < 4


def test_decisions_are_saved_at_once_and_resumed(server, tmp_path):
    for number, kept in ((0, False), (1, True), (0, True)):
        body = json.dumps({"identity": CANDIDATES[number].identity, "kept": kept})
        assert request(server, "POST", "decide", body)[0] == 200
    expected = {CANDIDATES[0].identity: True, CANDIDATES[1].identity: True}
    assert read_decisions(tmp_path / "decisions.json") == expected
    with ReviewServer(SELECTOR, expected, tmp_path / "decisions.json") as again:
        assert again.save() == expected
        assert request(again, "GET", "")[1].decode().count('aria-pressed="true"') == 3


@pytest.mark.parametrize(
    "body",
    ["", "{", "[]", "{}", '{"identity": "x", "kept": true}', '{"identity": 3, "kept": 1}',
     '{"identity": ["x"], "kept": true}', " " * 100_000],
)  # fmt: skip
def test_invalid_requests_change_nothing(server, tmp_path, body):
    assert request(server, "POST", "decide", body)[0] == 400
    assert not (tmp_path / "decisions.json").exists()


def test_requests_need_the_host_and_the_secret(server):
    assert request(server, "GET", "", host="evil.example")[0] == 404
    assert request(server, "GET", "", secret="/wrong/")[0] == 404  # noqa: S106
    assert request(server, "POST", "finish", secret="/")[0] == 404  # noqa: S106
    for what in ("99.webp", "-1.webp", "../x", "0.webp/..", "nothing"):
        assert request(server, "GET", what)[0] == 404
    assert not server.finished.is_set()


def test_review_in_browser(tmp_path):
    addresses: list[str] = []
    result: list = []
    announced = threading.Event()

    def announce(address: str) -> None:
        addresses.append(address)
        announced.set()

    path = tmp_path / "decisions.json"
    thread = threading.Thread(
        target=lambda: result.append(
            review_in_browser(SELECTOR, {"an-earlier@1,1": True}, path=path, announce=announce)
        )
    )
    thread.start()
    assert announced.wait(10)
    host, _, rest = addresses[0].removeprefix("http://").partition("/")
    for what, body in (
        ("decide", json.dumps({"identity": CANDIDATES[2].identity, "kept": False})),
        ("finish", ""),
    ):
        connection = http.client.HTTPConnection(host, timeout=10)
        connection.request("POST", f"/{rest}{what}", body)
        assert connection.getresponse().status == 200
    thread.join(10)
    assert result == [{"an-earlier@1,1": True, CANDIDATES[2].identity: False}]
    assert read_decisions(path) == result[0]


def test_identities_of_faces_differ():
    other = replace(CANDIDATES[0], face=replace(CANDIDATES[0].face, frame=Frame(99, 5, 30, 0)))
    assert other.identity != CANDIDATES[0].identity


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"format": "x"}', b"\xff" * 9])
def test_invalid_files_of_decisions(tmp_path, content):
    path = tmp_path / "d.json"
    path.write_bytes(content)
    with pytest.raises(CatganError, match=r"^[^\n]*not a file of decisions"):
        read_decisions(path)
    with pytest.raises(CatganError, match="cannot be read"):
        read_decisions(tmp_path / "none.json")
    write_decisions(path, {"b": True, "a": False})
    assert read_decisions(path) == {"a": False, "b": True}


@pytest.mark.parametrize(
    ("error", "logged"),
    [(ConnectionResetError, False), (TimeoutError, False), (ZeroDivisionError, True)],
)
def test_broken_connections_are_not_logged(server, monkeypatch, capfd, error, logged):
    def image(number):
        raise error

    monkeypatch.setattr(server, "image", image)
    with pytest.raises(http.client.RemoteDisconnected):
        request(server, "GET", "0.webp")
    assert bool(capfd.readouterr().err) == logged


def test_corrupt_crop_is_an_error_response(server, monkeypatch, capfd):
    def corrupt(face):
        raise CatganError("crops.bin has changed on disk")

    monkeypatch.setattr(server.selector, "read_crop", corrupt)
    assert request(server, "GET", "0.webp")[0] == 500
    assert capfd.readouterr().err == ""


def test_decision_that_cannot_be_written_has_no_effect(server, monkeypatch):
    def full(path, decisions):
        raise OSError(28, "No space left on device")

    body = json.dumps({"identity": CANDIDATES[0].identity, "kept": False})
    with monkeypatch.context() as patch:
        patch.setattr("catgan.review.server.write_decisions", full)
        assert request(server, "POST", "decide", body)[0] == 507
    assert server.save() == {}


def test_rejecting_a_face_keeps_its_near_duplicate(tmp_path):
    first, second, third = (each.identity for each in NEAR_DUPLICATES({}))
    with ReviewServer(NEAR_DUPLICATES, {}, tmp_path / "d.json") as server:
        for identity, kept, changed in (
            (first, False, {first: False, second: True}),
            (second, False, {second: False, third: True}),
            (first, True, {first: True, third: False}),
            (first, True, {}),
        ):
            body = json.dumps({"identity": identity, "kept": kept})
            status, content, _ = request(server, "POST", "decide", body)
            assert (status, json.loads(content)) == (200, changed)


def test_page_shows_the_near_duplicate_that_is_kept_instead(tmp_path):
    first, second, _ = (each.identity for each in NEAR_DUPLICATES({}))

    def pressed(identity):
        return f"document.querySelector('[data-identity=\"{identity}\"][aria-pressed=true]')"

    with (
        ReviewServer(NEAR_DUPLICATES, {}, tmp_path / "d.json") as server,
        browser(tmp_path / "profile") as page,
    ):
        page.open(server.address)
        page.wait(f"{pressed(first)} && !{pressed(second)}")
        page.run(f"{pressed(first)}.click()")
        page.wait(f"!{pressed(first)} && {pressed(second)}")
        page.wait("document.getElementById('state').textContent.includes('kept instead')")
        assert not [each for each in page.complaints() if "exceptionDetails" in each]


def test_unsaved_decision_is_sent_again(server, tmp_path, monkeypatch):
    """The next decision or Done sends it; Done does not finish before it is saved."""
    real, full = server.decide, [True]

    def decide(identity, kept):
        if full[0]:
            raise OSError(28, "No space left on device")
        return real(identity, kept)

    monkeypatch.setattr(server, "decide", decide)
    first, second = (each.identity for each in CANDIDATES[:2])
    with browser(tmp_path / "profile") as page:
        page.open(server.address)
        page.wait("document.querySelectorAll('.card').length === 3")
        page.run(f"document.querySelector('[data-identity=\"{first}\"]').click()")
        page.wait("document.getElementById('state').textContent.includes('no space left to write')")
        page.run("document.getElementById('done').click()")
        page.run("pendingSave")
        assert not server.finished.wait(0.3)
        full[0] = False
        page.run(f"document.querySelector('[data-identity=\"{second}\"]').click()")
        page.wait("document.getElementById('state').textContent.endsWith('kept')")
        assert read_decisions(server.path) == {first: False, second: True}
        page.run("document.getElementById('done').click()")
        assert server.finished.wait(10)
        assert not [each for each in page.complaints() if "exceptionDetails" in each]
