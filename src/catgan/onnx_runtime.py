"""The one place that imports ONNX Runtime, with its telemetry off.

From version 1.31 on, importing `onnxruntime` writes an identifier of the device and a queue of
events into the user's cache directory and sends them to Microsoft, unless `ORT_DISABLE_TELEMETRY`
is set before the import. catgan sends nothing, so it sets the variable. Whoever sets it to another
value (`ORT_DISABLE_TELEMETRY=0`) decides for themselves.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

_SWITCH = "ORT_DISABLE_TELEMETRY"


def load_onnxruntime(submodule: str = "") -> ModuleType:
    """Import and return `onnxruntime`, or its `submodule`, with the telemetry off.

    Has no influence on an ONNX Runtime that the process imported before.
    """
    if not os.environ.get(_SWITCH):  # ONNX Runtime takes an empty value for "send"
        os.environ[_SWITCH] = "1"
    return importlib.import_module(f"onnxruntime.{submodule}" if submodule else "onnxruntime")
