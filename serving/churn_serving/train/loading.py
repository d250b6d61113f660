"""Reads a pipeline that somebody saved. Never on the serving path: a pickle runs what is in it.

A skops file says which types it holds before any is made; those outside scikit-learn's own that are let
through are listed here, never taken from the file.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from churn_serving.errors import DataError

_ZIP = b"PK\x03\x04"
_TRUSTED = frozenset(
    {
        "collections.OrderedDict",
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMClassifier",
        "numpy.dtype",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.tree._tree.Tree",
        "xgboost.core.Booster",
        "xgboost.sklearn.XGBClassifier",
    }
)


def load_pipeline(path: Path, *, trust_pickle: bool) -> Any:
    """The object in a skops file; with `trust_pickle` also in one that joblib or pickle wrote.

    Raises:
        DataError: It cannot be read, holds a type that is not trusted, or was saved by another scikit-learn.
    """
    from sklearn.exceptions import InconsistentVersionWarning

    try:
        with path.open("rb") as file:
            is_skops = file.read(len(_ZIP)) == _ZIP
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", InconsistentVersionWarning)
            return _load_skops(path) if is_skops else _load_pickle(path, trust_pickle=trust_pickle)
    except InconsistentVersionWarning as warning:
        raise DataError(
            f"{path} was saved by scikit-learn {warning.original_sklearn_version}, here is"
            f" {warning.current_sklearn_version}: it may predict otherwise."
            " Install that version, or fit again"
        ) from None


def _load_skops(path: Path) -> Any:
    try:
        from skops import io
    except ModuleNotFoundError as error:
        raise DataError(f"{error.name} is not installed: pip install 'churn-serving[export]'") from None
    try:
        unknown = sorted(set(io.get_untrusted_types(file=path)) - _TRUSTED)
        if not unknown:
            return _check_trees(io.load(path, trusted=sorted(_TRUSTED)))
    except (Warning, DataError):
        raise
    except Exception as error:  # noqa: BLE001 (a forged file makes skops raise anything)
        raise DataError(f"{path} is no whole skops file: {str(error)[:200]}") from None
    raise DataError(f"{path} holds types that are not trusted: {', '.join(unknown)[:500]}")


def _check_trees(loaded: Any) -> Any:
    """Refuse trees whose nodes lead out of them: scikit-learn would follow them into any memory."""
    waiting, seen = [loaded], set()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        match type(each).__name__:
            case "Tree":
                _check_tree(each.children_left, each.children_right, each.feature, each.n_features)
            case "TreePredictor":
                inner = ~each.nodes["is_leaf"].astype(bool)
                left, right = (
                    np.where(inner, each.nodes[side].astype(int), -1) for side in ("left", "right")
                )
                _check_tree(left, right, each.nodes["feature_idx"], 1 << 31)
            case "ndarray" if each.dtype == object:
                waiting += each.ravel().tolist()
            case "list" | "tuple":
                waiting += each
            case "dict":
                waiting += each.values()
            case _:
                waiting += getattr(each, "__dict__", {}).values()
    return loaded


def _check_tree(left: Any, right: Any, feature: Any, features: int) -> None:
    nodes = np.arange(len(left))
    inner = left != -1
    for child in (left, right):
        if not ((child[inner] > nodes[inner]) & (child[inner] < len(nodes))).all():
            raise DataError("the file holds a tree whose nodes lead out of it")
    if not ((feature[inner] >= 0) & (feature[inner] < features)).all():
        raise DataError("the file holds a tree that looks at a column that it does not have")


def _load_pickle(path: Path, *, trust_pickle: bool) -> Any:
    if not trust_pickle:
        raise DataError(
            f"{path} is no skops file. A pickle runs whatever code is in it: save the pipeline with"
            " skops.io.dump, or give --trust-pickle if the file is your own"
        )
    import joblib

    try:
        return joblib.load(path)
    except Warning:
        raise
    except Exception as error:  # noqa: BLE001 (unpickling raises anything)
        raise DataError(f"{path} does not unpickle: {str(error)[:200]}") from None
