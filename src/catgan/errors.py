"""The one exception that a user's mistake may end in."""


class CatganError(Exception):
    """A user can cause and mend this: one line with the thing, the reason and the remedy.

    The command line prints it as `catgan: error: <message>` and exits with `exit_code`; a library
    caller catches it. Anything else that escapes is a bug.
    """

    exit_code = 2
