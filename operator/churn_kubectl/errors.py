"""What ends a command with one line instead of a traceback."""


class ChurnError(Exception):
    """Base of them; the message says what is wrong and what to do."""


class ClusterError(ChurnError):
    """kubectl ended with an error; the message is what it printed."""


class ForbiddenError(ClusterError):
    """Whoever asks has no right to that."""


class KindUnknownError(ClusterError):
    """The cluster has no such kind: its CRD is not installed."""
