"""What can go wrong, one class per fact. The class decides what happens next."""


class OperatorError(Exception):
    """Base of all errors of this package."""


class InvalidSpecError(OperatorError):
    """The spec breaks a rule; only its author can mend it."""


class ApiError(OperatorError):
    """The API server refused or failed a request.

    `status` is the HTTP status, 0 where there was no answer; `reason` is that of the server's Status object;
    `retry_after` are the seconds to wait at least, where the server says so.
    """

    def __init__(
        self, status: int, message: str, *, reason: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.reason = reason
        self.retry_after = retry_after


class UnreachableError(ApiError):
    """No answer, half an answer, or one that no API server gives: whether a write happened is unknown."""


class ServerTroubleError(ApiError):
    """5xx, or 401 while a token is rotated: try again later."""


class TooManyRequestsError(ApiError):
    """429: try again later."""


class NotFoundError(ApiError):
    """404: the object or its namespace is gone."""


class KindMissingError(ApiError):
    """404 for the kind itself: its CRD is not there (yet), or this API server has not heard of it."""


class ConflictError(ApiError):
    """409: the object changed, exists already, or has another uid."""


class GoneError(ApiError):
    """410: the version to watch from is too old; list again."""


class RefusedError(ApiError):
    """400, 403: this will not pass until someone changes a right, a quota or a webhook."""


class NamespaceEndingError(RefusedError):
    """403 because the namespace is being deleted: nothing new is made in it, and the ChurnModel goes too."""


class UnprocessableError(ApiError):
    """422: the server finds a field invalid; the message names it."""


class NotLeadingError(ApiError):
    """Nothing was sent: another instance holds the Lease, or may do so by now."""


class VanishedError(OperatorError):
    """The ChurnModel itself is gone, which its watch has yet to tell: nothing is done for it any more."""


class NameConflictError(OperatorError):
    """An object of that name is not ours; it is never touched. `reason` says whether it will go away."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
