"""What can go wrong on a contributor's machine, in one line each."""


class DevError(Exception):
    """Ends a command; the message is one line that says what to do."""


class MissingPrerequisite(DevError):  # noqa: N818 - it is a fact about the machine, not a fault of the tool
    """Something must be installed first."""
