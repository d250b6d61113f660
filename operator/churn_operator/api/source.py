"""`spec.model.uri` taken apart: where a bundle lies and how a pod reaches it."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

DIGEST = r"^sha256:[a-f0-9]{64}$"
PINNED_OCI = r"^oci://.+@sha256:[a-f0-9]{64}$"
OCI = r"^oci://[a-zA-Z0-9][-a-zA-Z0-9._:/]*(@sha256:[a-f0-9]{64})?$"
PVC = r"^pvc://[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?(/[-A-Za-z0-9._]+)*/?$"
S3 = r"^s3://[a-z0-9][-a-z0-9.]{1,61}[a-z0-9](/[-A-Za-z0-9._=+@]+)*/?$"
HTTPS = r"^https://[A-Za-z0-9][-A-Za-z0-9.]*(:[0-9]{1,5})?(/[-A-Za-z0-9._~%=+@]+)*/?$"
FORMS = {"oci": OCI, "pvc": PVC, "s3": S3, "https": HTTPS}

FORM_MESSAGE = (
    "uri must be oci://IMAGE, s3://BUCKET/PREFIX, https://HOST[:PORT]/PREFIX or pvc://CLAIM[/PATH], "
    "without user, query, fragment or '..'"
)


@dataclass(frozen=True)
class Source:
    """A parsed model URI. `location` is what follows the scheme."""

    scheme: str
    location: str

    @property
    def fetched(self) -> bool:
        """Whether an init container must copy the bundle into the pod."""
        return self.scheme in {"s3", "https"}

    @property
    def claim(self) -> str:
        """Name of the PersistentVolumeClaim; pvc only."""
        return self.location.partition("/")[0]

    @property
    def claim_path(self) -> str:
        """Path inside the claim, without slashes at its ends; pvc only."""
        return self.location.partition("/")[2].strip("/")

    @property
    def port(self) -> int | None:
        """Port that the URI itself names or implies; None where only the store's settings know it (s3)."""
        if self.scheme != "https":
            return None
        return urlsplit(f"https://{self.location}").port or 443

    @property
    def image_digest(self) -> str | None:
        """Digest of an oci image referenced by digest."""
        return self.location.rpartition("@")[2] if "@" in self.location else None


def parse_source(uri: str) -> Source:
    """The parts of `uri`.

    Raises:
        ValueError: The URI has none of the forms in `FORMS`; the message says which there are.
    """
    scheme, _, location = uri.partition("://")
    if scheme not in FORMS or not re.fullmatch(FORMS[scheme].strip("^$"), uri) or ".." in location:
        raise ValueError(FORM_MESSAGE)
    port = re.match(r"[^/]+:([0-9]+)", location) if scheme == "https" else None
    if port and not 1 <= int(port[1]) <= 65535:
        raise ValueError(FORM_MESSAGE)
    return Source(scheme, location)
