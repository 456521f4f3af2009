"""The `catgan` command: one file a group of commands, and the console they print to."""
