"""Features -> statistics -> scalar: what a generator is worth, with its fingerprint."""
