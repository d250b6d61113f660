"""One measured run of a batch, in a process of its own: `python -m churn_dev.batch_run HOW IN OUT MODEL`.

HOW is `churn-serving`, or `pandas`: the same kind of model with scikit-learn's own tools, as its documents
show them. Imports, loading and fitting are done before the clock starts, and a small file is scored first.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from churn_dev.bundles import TELCO

Score = Callable[[Path, Path], None]

ID, TARGET = "customerID", "Churn"
NUMBERS = ["SeniorCitizen", "tenure", "MonthlyCharges", "TotalCharges"]


def with_churn_serving(bundle: Path, workers: int) -> Score:
    """As `churn-serving score` does it."""
    from churn_serving.batch.run import score_files

    def score(source: Path, target: Path) -> None:
        score_files(bundle, str(source), str(target), workers=workers)

    return score


def with_pandas(algorithm: str) -> Score:
    """As scikit-learn's user guide does it: a column transformer and a classifier, fitted on a data frame."""
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    customers = read_customers()
    texts = [name for name in customers.columns if name not in {ID, TARGET, *NUMBERS}]
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), NUMBERS),
        (OneHotEncoder(handle_unknown="ignore"), texts),
    )
    classifiers = {
        "logistic": LogisticRegression(max_iter=1000),
        "gradient-boosting": GradientBoostingClassifier(random_state=0),
    }
    pipeline = make_pipeline(columns, classifiers[algorithm])
    pipeline.fit(customers.drop(columns=[ID, TARGET]), customers[TARGET] == "Yes")

    def score(source: Path, target: Path) -> None:
        frame = pd.read_parquet(source)
        probability = pipeline.predict_proba(frame.drop(columns=ID))[:, 1].round(6)
        scores = {ID: frame[ID], "probability": probability, "churn": probability >= 0.5}
        pd.DataFrame(scores).to_parquet(target, index=False)

    return score


def read_customers() -> "pd.DataFrame":  # type: ignore[name-defined]  # noqa: F821
    """The Telco customers with their total as a number."""
    import pandas as pd

    customers = pd.read_csv(TELCO)
    customers["TotalCharges"] = pd.to_numeric(customers["TotalCharges"], errors="coerce")
    return customers


def main() -> None:
    """Score twice; print the seconds of the second time, of this process and its children, and the memory."""
    how, source, target, model, warm_up = sys.argv[1:6]
    score = with_pandas(model) if how == "pandas" else with_churn_serving(Path(model), int(how))
    score(Path(warm_up), Path(target))
    before, started = _cpu_seconds(), time.monotonic()
    score(Path(source), Path(target))
    spent = {
        "cpu": _cpu_seconds() - before,
        "wall": time.monotonic() - started,
        "memory": _highest_memory(),
    }
    print(json.dumps(spent))


def _highest_memory() -> float:
    """Resident memory at its highest, in MB; `ru_maxrss` would count the process that started this one."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    main()
