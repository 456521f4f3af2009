"""Read untrusted input: images, archives, downloads."""
