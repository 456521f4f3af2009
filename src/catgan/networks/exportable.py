"""Replace layers by their export versions.

Some layers are computed in a way that makes training on a CPU fast and a graph large, or that no
graph can hold: matrix products over gathered patches, functions with gradients of their own. Such a
layer has an export version, a plain layer of documented operators. So no forward pass asks whether
it is being exported.
"""

from __future__ import annotations

import copy
from typing import Protocol, runtime_checkable

from torch import nn

from catgan.networks.base import BaseGenerator


@runtime_checkable
class HasExportVersion(Protocol):
    """A layer that is exported as another one."""

    def export_version(self) -> nn.Module:
        """Return a layer that computes the same, with the same weights under the same names.

        It may share the weights: it replaces this layer in a copy of the network.
        """


def exportable_copy(generator: BaseGenerator) -> BaseGenerator:
    """Return a copy of `generator` with each layer that has an export version replaced by it.

    State dict and images, up to rounding, are those of `generator`, which stays as it is.
    """
    exported = copy.deepcopy(generator)
    for name, layer in reversed(list(exported.named_modules())):  # inner layers first
        if isinstance(layer, HasExportVersion):
            exported.set_submodule(name, layer.export_version())
    return exported
