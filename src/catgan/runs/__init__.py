"""What a run is on disk: its directory, checkpoints, lock, log, report, and its sampler."""
