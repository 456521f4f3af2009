"""`dcgan-128` beside the same recipe written in plain Keras, as the projects it comes from do."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

from catgan.config import load_recipe
from catgan.exporters.keras_runtime import load_keras
from catgan.networks.build import build_discriminator, build_generator
from catgan.networks.layers.convolution import Convolution, TransposedConvolution

if not find_spec("keras"):
    pytest.skip("Keras is not installed: dcgan-128 is NOT compared", allow_module_level=True)
keras = load_keras()  # on torch; a plain import would ask for TensorFlow
layers = keras.layers

NETWORK = load_recipe("dcgan-128").network


def keras_generator():
    stack = [layers.Input((128,)), layers.Dense(4 * 4 * 512, use_bias=False)]
    stack += [layers.Reshape((4, 4, 512))]
    for filters in (512, 256, 128, 64):
        stack += [layers.BatchNormalization(epsilon=1e-5), layers.LeakyReLU(0.2)]
        stack += [layers.Conv2DTranspose(filters, 4, strides=2, padding="same", use_bias=False)]
    stack += [layers.BatchNormalization(epsilon=1e-5), layers.LeakyReLU(0.2)]
    stack += [layers.Conv2DTranspose(3, 4, strides=2, padding="same", activation="sigmoid")]
    return keras.Sequential(stack)


def keras_discriminator():
    stack = [layers.Input((128, 128, 3))]
    for filters in (64, 128, 256, 512, 512):
        stack += [layers.Conv2D(filters, 4, strides=2, padding="same")]
        stack += [layers.LeakyReLU(0.2), layers.Dropout(0.3)]
    return keras.Sequential([*stack, layers.Flatten(), layers.Dense(1)])


def copy_weights(theirs, ours):
    """From the layers of `ours` that have weights to those of `theirs`, one after the other."""
    sources = [each for each in ours.layers if list(each.parameters(recurse=False))]
    targets = [each for each in theirs.layers if each.weights]
    for source, target in zip(sources, targets, strict=True):
        weights = [parameter.detach() for parameter in source.parameters()]
        if isinstance(source, nn.BatchNorm2d):
            weights += [source.running_mean, source.running_var]
        elif isinstance(target, layers.Dense) and isinstance(source, TransposedConvolution):
            weights[0] = weights[0].permute(0, 2, 3, 1).flatten(1)
        elif isinstance(target, layers.Dense):
            weights[0] = weights[0].permute(2, 3, 1, 0).flatten(0, 2)
        else:
            assert isinstance(source, Convolution | TransposedConvolution)
            weights[0] = weights[0].permute(2, 3, 1, 0)
        target.set_weights([each.numpy() for each in weights])


def parameters(network):
    return sum(each.numel() for each in network.parameters())


def trainable(model):
    return sum(int(np.prod(each.shape)) for each in model.trainable_weights)


@pytest.mark.parametrize("training", [False, True])
def test_the_generator_is_that_of_keras(training):
    torch.manual_seed(0)
    ours, theirs = build_generator(NETWORK), keras_generator()
    ours.layers[-2].weight.data *= 100  # as if it had learnt some contrast
    with torch.no_grad():
        ours(torch.randn(8, 128))  # statistics that are not those of the beginning
    copy_weights(theirs, ours)
    assert trainable(theirs) == parameters(ours)
    z = torch.randn(4, 128)
    with torch.no_grad():
        images = ours.train(training)(z).permute(0, 2, 3, 1).numpy()
    theirs_drawn = keras.ops.convert_to_numpy(theirs(z.numpy(), training=training))
    assert np.allclose(theirs_drawn, images, atol=1e-4)
    assert images.std() > 0.05


def test_the_discriminator_is_that_of_keras():
    torch.manual_seed(0)
    ours, theirs = build_discriminator(NETWORK, None, torch.float32), keras_discriminator()
    for convolution in ours.layers:
        if isinstance(convolution, Convolution):
            nn.init.kaiming_normal_(convolution.weight)
            nn.init.normal_(convolution.bias)
    copy_weights(theirs, ours)
    assert trainable(theirs) == parameters(ours)
    images = torch.rand(4, 3, 128, 128)
    with torch.no_grad():
        logits = ours.eval()(ours.features(images)).numpy()
    theirs_said = keras.ops.convert_to_numpy(theirs(images.permute(0, 2, 3, 1).numpy()))
    assert np.allclose(theirs_said, logits, rtol=1e-4, atol=1e-4)
    assert logits.std() > 0.01
