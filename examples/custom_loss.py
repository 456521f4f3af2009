"""Train with a loss of one's own: the Wasserstein loss, with gradient penalties on D.

Arjovsky et al., "Wasserstein GAN", ICML 2017. The penalties are R1 and R2 here, not clipping.

python examples/custom_loss.py PHOTOS [SECTION.KEY=VALUE ...]
"""

import sys

import catgan
from catgan.config import load_recipe, override
from catgan.training.losses import DISCRIMINATOR_LOSSES, GENERATOR_LOSSES, mean_loss

# A loss maps logits, float32 (B, K[, P]), to a scalar. Its name then goes into the configuration.
DISCRIMINATOR_LOSSES["wasserstein"] = lambda real, fake: mean_loss(fake) - mean_loss(real)
GENERATOR_LOSSES["wasserstein"] = lambda real, fake: -mean_loss(fake)

photos, *settings = sys.argv[1:]
config = override(
    load_recipe("lsgan-64"),
    [
        "recipe=wasserstein-64",
        "loss.discriminator=wasserstein",
        "loss.generator=wasserstein",
        "loss.penalty=10",
        "loss.penalty_final=10",
        *settings,
    ],
)
run = catgan.train(config, photos, out="runs/wasserstein", on_progress=print)
print(f"catgan sample {run.path}")  # to sample from it, the loss is not needed
