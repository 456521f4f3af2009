"""Train on a folder of photos, export the best checkpoint, and sample from it.

python examples/train_on_a_folder.py PHOTOS [SECTION.KEY=VALUE ...]
"""

import sys

from PIL import Image

import catgan


def show(row):
    """Print one row of the log."""
    if "score" in row:
        print(f"{row['images']:>9,} images  {row['scored_by']} {row['score']:.4g}")
    else:
        losses = row["discriminator_loss"], row["generator_loss"]
        print(f"{row['images']:>9,} images  D {losses[0]:.3f}  G {losses[1]:.3f}")


photos, *settings = sys.argv[1:]
run = catgan.train("lsgan-64", photos, out="runs/folder", settings=settings, on_progress=show)
print(f"{run.path}: {'finished' if run.finished else 'stopped'} after {run.images:,} images")
for note in run.notes:
    print(note)

checkpoint = "latest" if run.best_images is None else run.best_images
exported = catgan.export(run.path, "cats.onnx", checkpoint=checkpoint)
Image.fromarray(catgan.load(exported.path).grid(seeds=range(16))).save("cats.png")
