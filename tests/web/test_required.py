"""Where the browser is required, a test that lacks it fails, and is not skipped."""

from __future__ import annotations

import browser
import pytest


@pytest.mark.parametrize(
    ("required", "end"), [(False, pytest.skip.Exception), (True, pytest.fail.Exception)]
)
def test_missing_chromium_skips_or_fails(tmp_path, monkeypatch, required, end):
    monkeypatch.setattr(browser, "CHROMIUM", None)
    monkeypatch.setattr(browser, "REQUIRED", required)
    with pytest.raises(end, match="no Chromium"), browser.browser(tmp_path):
        pass
