"""Without Chromium, browser tests are skipped, or fail if a browser is required."""

from __future__ import annotations

import browser
import pytest


@pytest.mark.parametrize(
    ("required", "outcome"), [(False, pytest.skip.Exception), (True, pytest.fail.Exception)]
)
def test_missing_chromium_skips_or_fails(tmp_path, monkeypatch, required, outcome):
    monkeypatch.setattr(browser, "CHROMIUM", None)
    monkeypatch.setattr(browser, "REQUIRED", required)
    with pytest.raises(outcome, match="no Chromium"), browser.browser(tmp_path):
        pass
