"""What `helm test` runs: the operator is ready, and each model of the release answers for one customer.

Usage: predict.py OPERATOR_URL [MODEL ...]. Standard library only; it runs in the serving image.
"""

import json
import sys
import time
import urllib.error
import urllib.request

PATIENCE_SECONDS = 120  # images may still be pulled when the release has just been installed


def call(url: str, body: object = None) -> bytes:
    """GET, or POST of a JSON body; what is not there yet is asked again until patience ends."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310 - fixed scheme
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310
                return response.read()
        except OSError as error:
            refused = isinstance(error, urllib.error.HTTPError) and error.code < 500
            if refused or time.monotonic() > deadline:
                sys.exit(f"{url}: {error}")
        time.sleep(1)
