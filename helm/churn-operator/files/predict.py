# ruff: noqa: INP001, S310 - no package, and only http URLs of the release
"""What `helm test` runs: the operator is ready, and each model of the release answers for one customer.

Usage: predict.py OPERATOR_URL [MODEL ...]. Standard library only; it runs in the serving image.
"""

import json
import sys
import time
import urllib.error
import urllib.request
from typing import Any

PATIENCE_SECONDS = 120  # right after an installation images are still being pulled


def ask(url: str, body: Any = None) -> bytes:
    """GET, or POST of a JSON body. What does not answer yet is asked again until patience ends."""
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"})
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.read()
        except OSError as error:
            said = error.read().decode() if isinstance(error, urllib.error.HTTPError) else ""
            refused = isinstance(error, urllib.error.HTTPError) and error.code < 500
            if refused or time.monotonic() > deadline:
                sys.exit(f"FAILED {url}: {error} {said}")
        time.sleep(1)


def main(operator: str, *models: str) -> None:
    """Ends with an error at the first thing that does not answer as it should."""
    ask(f"{operator}/readyz")
    print("operator: ready")
    for model in models:
        described = json.loads(ask(f"http://{model}/openapi.json"))
        typical = described["components"]["examples"]["PredictRequest"]["value"]
        answer = json.loads(ask(f"http://{model}/predict", typical))
        (prediction,) = answer["predictions"]
        if not 0 <= prediction["probability"] <= 1:
            sys.exit(f"FAILED {model}: {prediction}")
        print(f"{model}: version {answer['version']} answers {json.dumps(prediction)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
