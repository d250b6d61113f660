"""What the protocol tells of the server and of the model."""

from typing import Any

from churn_serving.bundle.schema import Boolean, Feature, Numeric
from churn_serving.routing import Table
from churn_serving.server.oip.datatypes import BOOLEAN, TEXT
from churn_serving.server.oip.infer import DATATYPES, USUAL, version_of

EXTENSIONS = ["binary_tensor_data"]
PLATFORM = "onnx_onnxruntime"  # as the protocol's list of platforms has it: project and format


def describe_server() -> dict[str, Any]:
    from churn_serving import __version__

    return {"name": "churn-serving", "version": __version__, "extensions": EXTENSIONS}


def describe_model(table: Table) -> dict[str, Any]:
    """Name, versions, inputs and outputs; the columns are those of the first version."""
    return {
        "name": table.name,
        "versions": sorted({version_of(route) for route in table.routes}),
        "platform": PLATFORM,
        "inputs": [
            {"name": feature.name, "datatype": datatype_of(feature), "shape": [-1]}
            for feature in table.routes[0].model.manifest.features
        ],
        "outputs": [{"name": name, "datatype": DATATYPES[name], "shape": [-1]} for name in USUAL],
    }


def datatype_of(feature: Feature) -> str:
    """The datatype a column is described with; others that fit it are read too."""
    match feature:
        case Numeric():
            return "FP64"
        case Boolean():
            return BOOLEAN
    return TEXT
