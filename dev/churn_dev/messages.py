"""Python of the messages that the server speaks over gRPC, from their .proto."""

import tempfile
from functools import cache
from importlib.resources import files
from pathlib import Path

from churn_dev.paths import ROOT

SOURCE = ROOT / "serving/churn_serving/server/oip/inference.proto"
MODULE = SOURCE.with_name("inference_pb2.py")
TYPES = MODULE.with_suffix(".pyi")


def render(path: Path) -> str:
    """The text of `MODULE` or of its `TYPES`."""
    return _compiled()[path.suffix]


@cache
def _compiled() -> dict[str, str]:
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as out:
        known = files("grpc_tools") / "_proto"
        where = [f"-I{SOURCE.parent}", f"-I{known}", f"--python_out={out}", f"--pyi_out={out}"]
        if protoc.main(["protoc", *where, str(SOURCE)]):
            raise ValueError(f"{SOURCE} does not compile; the lines above say where")
        return {path.suffix: path.read_text() for path in Path(out).iterdir()}
