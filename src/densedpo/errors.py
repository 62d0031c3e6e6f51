"""Errors that a user caused and a user can mend."""


class UserError(Exception):
    """A mistake in what the user gave us: one clear sentence saying what, where, and how to mend it.

    The command line prints the message without a traceback and exits with 2.
    """
