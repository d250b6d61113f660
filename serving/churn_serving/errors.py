"""Every failure this package knows, one class per fact.

The class gives the `reason` that scripts and the operator read; the message is for people and says what to
do.
"""

from typing import ClassVar


class ChurnServingError(Exception):
    """Base of the errors that are shown without a traceback.

    Attributes:
        reason: The class's name without `Error`, for example `DigestMismatch`. Part of the termination
            message.
    """

    reason: ClassVar[str] = "ChurnServing"

    def __init_subclass__(cls) -> None:
        cls.reason = cls.__name__.removesuffix("Error")


class BundleError(ChurnServingError):
    """The bundle is refused; it will not load until its files or the pin change."""


class BundleIncompleteError(BundleError):
    """A file of the bundle is missing or cannot be read."""


class BundleTooLargeError(BundleError):
    """A file is larger than a bundle's file may be."""


class DigestMismatchError(BundleError):
    """SHA256SUMS is not the one that was pinned."""


class FileMismatchError(BundleError):
    """A file is not the one that SHA256SUMS lists, or SHA256SUMS lists what it must not."""


class SchemaInvalidError(BundleError):
    """model.json, golden.jsonl or reference.json breaks the schema."""


class OnnxInvalidError(BundleError):
    """model.onnx does not load, or is not the function that model.json describes."""


class GoldenMismatchError(BundleError):
    """A golden row does not reproduce: this model is not the one that was trained."""


class TooSlowError(BundleError):
    """Scoring one golden row takes longer than whoever serves the model allows."""


class RevisionNotConfiguredError(ChurnServingError):
    """A bundle is mounted that serving.json does not name."""


class ConfigInvalidError(ChurnServingError):
    """serving.json, a setting or a file that a setting names is wrong."""


class FetchFailedError(ChurnServingError):
    """The store did not give the bundle's files."""


class DataError(ChurnServingError):
    """The customers' file cannot be used as it is; the message says what mends it."""
