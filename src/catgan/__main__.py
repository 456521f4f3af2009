"""`python -m catgan` is the same as the `catgan` command."""

from catgan.cli.app import main

if __name__ == "__main__":
    main()
