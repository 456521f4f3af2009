"""Import ONNX Runtime with its telemetry off; all code of catgan imports it here.

From version 1.31 on, importing `onnxruntime` writes a device identifier and a queue of events to
the user's cache directory and sends them to Microsoft, unless `ORT_DISABLE_TELEMETRY` is set before
the import. catgan sends nothing, so it sets the variable. A value that the user has set
(`ORT_DISABLE_TELEMETRY=0`) is respected.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

_VARIABLE = "ORT_DISABLE_TELEMETRY"


def load_onnxruntime(submodule: str = "") -> ModuleType:
    """Import and return `onnxruntime`, or its `submodule`, with the telemetry off.

    This has no effect if the process has already imported ONNX Runtime.
    """
    if not os.environ.get(_VARIABLE):  # ONNX Runtime treats an empty value as "send"
        os.environ[_VARIABLE] = "1"
    return importlib.import_module(f"onnxruntime.{submodule}" if submodule else "onnxruntime")
