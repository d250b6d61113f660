"""A logistic graph's weights are read from it, give what it gives, and are not read from any other graph."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from churn_serving.batch.columns import Column, split
from churn_serving.batch.linear import Linear, Term, read_linear
from churn_serving.batch.scoring import load_scoring
from churn_serving.bundle.schema import Boolean, Categorical, Feature, Manifest
from churn_serving.bundle.write import write_files
from churn_serving.features import Matrix
from churn_serving.model import load_model
from churn_serving.scorer import publish
from churn_serving.train.calibration import Calibration
from churn_serving.train.classifiers import Algorithm
from churn_serving.train.train import train

from .conftest import SAMPLE, shop_plan


@pytest.fixture(scope="module", params=[None, Calibration.SIGMOID], ids=["plain", "calibrated"])
def logistic(
    request: pytest.FixtureRequest, shop_csv: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A logistic bundle of the shop's customers: gaps, booleans, categories with a missing one."""
    directory = tmp_path_factory.mktemp("logistic") / "bundle"
    plan = shop_plan(shop_csv, algorithm=Algorithm.LOGISTIC, calibration=request.param)
    write_files(directory, train(plan).files)
    return directory


def linear_of(directory: Path) -> Linear | None:
    manifest = load_model(directory).manifest
    model = (directory / "model.onnx").read_bytes()
    return read_linear(model, len(manifest.features), manifest.positive_index)


def any_codes(manifest: Manifest, rows: int) -> Matrix:
    """Every code of every feature somewhere: never seen, missing, far outside of the training range."""
    rng = np.random.default_rng(7)
    return np.column_stack([rng.choice(codes_of(each), rows) for each in manifest.features]).astype(
        np.float32
    )


def codes_of(feature: Feature) -> list[float]:
    gap = [np.nan] if feature.nullable else []
    match feature:
        case Categorical():
            return [*range(-1, len(feature.categories) + feature.nullable)]
        case Boolean():
            return [0, 1, *gap]
        case _:
            return [-1e6, -2.5, 0, 0.3, 1, 8, *gap]


def test_the_weights_give_what_the_graph_gives(logistic: Path):
    for directory in (logistic, SAMPLE):
        model, linear = load_model(directory), linear_of(directory)
        assert linear is not None
        matrix = any_codes(model.manifest, 5000)
        expected = model.scorer.probabilities(matrix)
        assert expected.std() > 0.1
        np.testing.assert_allclose(linear.probabilities(split(matrix)), expected, rtol=0, atol=1e-6)


def test_trees_are_left_to_the_graph(shop: Path):
    assert linear_of(shop) is None
    assert load_scoring(shop, None, None).linear is None


def replace_softmax(graph: onnx.GraphProto) -> None:
    graph.node[-1].op_type = "Hardmax"


def turn_softmax(graph: onnx.GraphProto) -> None:
    graph.node[-1].attribute[0].i = 0


def scale_sum(graph: onnx.GraphProto) -> None:
    (gemm,) = (node for node in graph.node if node.op_type == "Gemm")
    gemm.attribute.append(onnx.helper.make_attribute("alpha", 0.5))


def round_inputs(graph: onnx.GraphProto) -> None:
    (gemm,) = (node for node in graph.node if node.op_type == "Gemm")
    node = onnx.helper.make_node("Round", [gemm.input[0]], ["rounded"])
    graph.node.insert(list(graph.node).index(gemm), node)
    gemm.input[0] = "rounded"


def fill_by_another_column(graph: onnx.GraphProto) -> None:
    """Where one column is missing, another one is replaced."""
    first = next(node for node in graph.node if node.op_type == "Gather")
    columns = next(each for each in graph.initializer if each.name == first.input[1])
    mixed = onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(columns)[::-1].copy(), "mixed")
    graph.initializer.append(mixed)
    absent = next(node for node in graph.node if node.op_type == "IsNaN")
    position = list(graph.node).index(absent)
    graph.node.insert(
        position, onnx.helper.make_node("Gather", [first.input[0], "mixed"], ["others"], axis=1)
    )
    absent.input[0] = "others"


@pytest.mark.parametrize(
    "change", [replace_softmax, turn_softmax, scale_sum, round_inputs, fill_by_another_column]
)
def test_a_graph_that_differs_in_one_node_is_not_taken_for_linear(change: Callable[[onnx.GraphProto], None]):
    manifest = load_model(SAMPLE).manifest
    model = onnx.load_model_from_string((SAMPLE / "model.onnx").read_bytes())
    change(model.graph)
    assert read_linear(model.SerializeToString(), len(manifest.features), manifest.positive_index) is None


def test_what_is_no_graph_is_not_linear():
    assert read_linear(b"no graph", 3, 1) is None
    assert read_linear(b"", 3, 1) is None


def test_beside_the_threshold_a_customer_gets_the_decision_of_the_server():
    scoring = load_scoring(SAMPLE, None, None)
    matrix = any_codes(scoring.model.manifest, 300)
    assert scoring.linear is not None
    shifted = scoring.linear._replace(base=scoring.linear.base - 1e-6)  # as far off as is ever accepted
    for at, served in enumerate(publish(scoring.model.scorer.probabilities(matrix))):
        beside = replace(scoring, linear=shifted, threshold=served)
        assert beside.probabilities(split(matrix))[at] >= served


def test_columns_share_a_look_up_however_many_values_they_have_and_however_narrow_their_positions_are():
    random = np.random.default_rng(3)
    sizes = [3, 90, 2, 5000, 60, 60, 4]
    terms = [Term(0.01, 0.5, {float(code): random.normal() for code in range(size)}) for size in sizes]
    codes = [np.append(np.arange(size - 1.0), np.nan) for size in sizes]
    positions = [random.integers(0, size, 400).astype(np.int8 if size < 127 else np.int32) for size in sizes]
    columns = [Column(*each) for each in zip(codes, positions, strict=True)]
    plain = [Column(column.codes()) for column in columns]
    linear = Linear(-0.3, terms)
    assert linear.probabilities(columns) == pytest.approx(linear.probabilities(plain), abs=1e-12)
