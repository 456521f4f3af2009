"""Score a run against the photos it was trained on, beside what real photos would score.

python examples/evaluate.py RUN [EXTRACTOR [SAMPLES]]
"""

import sys

import catgan

run = sys.argv[1]
extractor = sys.argv[2] if len(sys.argv) > 2 else "lite2"
samples = int(sys.argv[3]) if len(sys.argv) > 3 else 5_000

evaluation = catgan.evaluate(run, extractor=extractor, samples=samples)
name = evaluation.fingerprint.extractor.frechet_name
scores, floor = evaluation.scores, evaluation.floor
print(f"{name} {scores.frechet:.4g} of {samples:,} samples")
print(f"{name} {floor.frechet:.4g} of {evaluation.floor_count:,} real photos: the floor")
print(f"precision {scores.precision:.3f}, recall {scores.recall:.3f}")
print(f"exact copies of training photos: {evaluation.copies}")
for note in evaluation.notes:
    print(note)
