"""What `train`, `check`, `predict` and `score` do and print. The work itself is elsewhere."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from churn_serving.batch.run import score_files
from churn_serving.bundle.schema import GOLDEN_TOLERANCE, CrossValidation, Metrics
from churn_serving.bundle.write import check_target, write_files
from churn_serving.errors import DataError
from churn_serving.model import Model, load_model

EXIT_REJECTED = 3
"""Some rows were rejected: neither success nor failure, so that a scheduler can tell."""
EXIT_INTERRUPTED = 130


def train_bundle(
    out: Path, *, algorithm: str, calibration: str | None, card: Path | None, **plan: Any
) -> None:
    """Train, write the bundle to `out`, load it again as `serve` will, and say how good it is."""
    check_target(out)
    try:
        from churn_serving.train.calibration import Calibration
        from churn_serving.train.classifiers import Algorithm
        from churn_serving.train.train import TrainingPlan
        from churn_serving.train.train import train as train_model
    except ModuleNotFoundError as error:
        raise DataError(
            f"{error.name} is not installed; training needs: pip install 'churn-serving[train]'"
        ) from None
    trained = train_model(
        TrainingPlan(
            algorithm=Algorithm(algorithm),
            calibration=None if calibration is None else Calibration(calibration),
            **plan,
        ),
        _tell_search,
    )
    _write(out, trained, card)


def _tell_search(done: int, total: int, best: float) -> None:
    print(f"search: {done} of {total} settings tried, best AUC {best:.4f}", file=sys.stderr, flush=True)


def export_bundle(path: Path, out: Path, *, trust_pickle: bool, card: Path | None, **plan: Any) -> None:
    """Convert the pipeline in `path`, write the bundle to `out`, load it again as `serve` will."""
    check_target(out)
    try:
        from churn_serving.train.export import ExportPlan, export
        from churn_serving.train.loading import load_pipeline
    except ModuleNotFoundError as error:
        raise DataError(
            f"{error.name} is not installed; exporting needs: pip install 'churn-serving[export]'"
        ) from None
    if trust_pickle:
        print(f"note: {path} may run any code as it is read; you said that you trust it", file=sys.stderr)
    _write(out, export(load_pipeline(path, trust_pickle=trust_pickle), ExportPlan(**plan)), card)


def _write(out: Path, trained: Any, card: Path | None) -> None:
    write_files(out, trained.files)
    model = load_model(out)
    if trained.unlabelled_rows:
        print(f"left out {trained.unlabelled_rows} rows without a value of {trained.manifest.target!r}")
    for column in trained.ignored:
        print(f"not learnt from: {column.name} ({column.why})")
    manifest = trained.manifest
    others = [name for name in manifest.classes if name != manifest.positive]
    print(f"churn: {manifest.target} = {manifest.positive}, otherwise {others[0]}")
    _print_metrics(manifest.metrics)
    print(f"bundle  {out}\ndigest  {model.digest}")
    if card is not None:
        _draw_card(model, trained.holdout, card)


def write_card(directory: Path, data: Path, out: Path, digest: str | None) -> None:
    """Draw the model card of a bundle on labelled customers."""
    model = load_model(directory, digest)
    try:
        from churn_serving.train.table import MIN_MEASURED, read_table
    except ModuleNotFoundError as error:
        raise _missing_card(error) from None
    _draw_card(model, read_table(data, MIN_MEASURED), out)


def _draw_card(model: Model, holdout: Any, out: Path) -> None:
    try:
        from churn_serving.train.page import build_page
    except ModuleNotFoundError as error:
        raise _missing_card(error) from None
    page = build_page(model, holdout)
    try:
        out.write_text(page, encoding="utf-8")
    except OSError as error:
        raise DataError(f"the card {out} cannot be written: {error.strerror}") from None
    print(f"card    {out}")


def _missing_card(error: ModuleNotFoundError) -> DataError:
    return DataError(f"{error.name} is not installed; the card needs: pip install 'churn-serving[card]'")


def check_bundle(directory: Path, digest: str | None) -> None:
    """Load the bundle and print what was verified."""
    model = load_model(directory, digest)
    manifest = model.manifest
    features = len(manifest.features)
    print(f"model    {manifest.name} {manifest.version}, {manifest.algorithm}, {features} features")
    print(f"digest   {model.digest} ({'as pinned' if digest else 'not pinned'})")
    print("files    sizes and SHA-256 as listed; schema valid; the graph loads and reads no other file")
    worst = f"{model.golden_deviation:.1e}"
    print(f"golden   {model.golden_rows} rows reproduce within {GOLDEN_TOLERANCE:g}; worst {worst}")
    print(f"loaded   in {model.load_seconds:.3f} s")


def predict_file(
    customers: Path, directory: Path, out: Path, *, digest: str | None, threshold: float | None
) -> int:
    """Score one file, print a summary for people and give the exit code."""
    summary = score_files(directory, str(customers), str(out), digest=digest, threshold=threshold)
    print(f"scored {summary.scored} customers, {summary.churning} of them churning, to {out}")
    for warning in summary.warnings:
        print(f"note: {warning}")
    if summary.rejected:
        print(f"rejected {summary.rejected} rows: see {summary.rejected_paths[0]}")
        return EXIT_REJECTED
    return 0


def score_batch(
    source: str,
    target: str,
    directory: Path,
    *,
    digest: str | None,
    threshold: float | None,
    workers: int | None,
    work: Path | None,
) -> int:
    """Score files, print a summary for schedulers and give the exit code."""
    from churn_serving.batch.progress import Teller

    started = time.monotonic()
    teller = Teller()
    try:
        summary = score_files(
            directory,
            source,
            target,
            digest=digest,
            threshold=threshold,
            workers=workers,
            work=work,
            report=teller,
        )
    except KeyboardInterrupt:
        teller.end()
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return EXIT_INTERRUPTED
    teller.end()
    for warning in dict.fromkeys(summary.warnings):
        print(f"note: {warning}", file=sys.stderr)
    seconds = time.monotonic() - started
    done = summary.scored + summary.rejected - summary.resumed
    told = {
        "files": summary.files,
        "scored": summary.scored,
        "churning": summary.churning,
        "rejected": summary.rejected,
        "rejected_files": summary.rejected_paths[:20],
        "resumed": summary.resumed,
        "seconds": round(seconds, 3),
        "rows_per_second": round(done / seconds),
    }
    print(json.dumps(told))
    return EXIT_REJECTED if summary.rejected else 0


def compare_bundles(first: Path, second: Path, data: Path, *, resamples: int, seed: int) -> None:
    """Print the metrics of both on the same rows, with intervals, and whose decision differs."""
    models = load_model(first), load_model(second)
    try:
        from churn_serving.train.compare import compare
        from churn_serving.train.table import MIN_MEASURED, read_table
    except ModuleNotFoundError as error:
        raise DataError(
            f"{error.name} is not installed; comparing needs: pip install 'churn-serving[train]'"
        ) from None
    found = compare(*models, read_table(data, MIN_MEASURED), resamples=resamples, seed=seed)
    for letter, model in zip("AB", models, strict=True):
        manifest = model.manifest
        print(
            f"{letter}  {manifest.name} {manifest.version}, {manifest.algorithm}, from {manifest.threshold}"
        )
    left_out = f"; {found.left_out:,} left out, one of them rejects those" if found.left_out else ""
    print(f"on {found.rows:,} customers{left_out}, with 95 % intervals of {resamples} resamples:")
    for name, *intervals in found.metrics:
        told = [f"{each.value:7.4f} ({each.low:.4f} to {each.high:.4f})" for each in intervals]
        print(f"  {name:<18} A {told[0]}  B {told[1]}  B - A {told[2]}")
    print("B decides otherwise than A, by segments of 30 customers or more:")
    for segment in found.segments[:13]:
        share = (segment.to_churn + segment.to_stay) / segment.rows
        label = f"{segment.column} = {segment.value}" if segment.value else segment.column
        changes = f"{segment.to_churn} to churn, {segment.to_stay} to stay"
        print(f"  {label[:44]:<44} {share:6.1%} of {segment.rows:,}: {changes}")


def _print_metrics(metrics: Metrics) -> None:
    since = f", from {metrics.holdout_from} on" if metrics.holdout_from else ""
    if metrics.train_rows:
        print(
            f"trained on {metrics.train_rows:,} rows, measured on {metrics.holdout_rows:,} held back{since}:"
        )
    else:
        print(f"measured on {metrics.holdout_rows:,} rows:")
    print(f"  AUC                  {metrics.auc:.4f}")
    print(f"  average precision    {metrics.average_precision:.4f} (guessing: {metrics.churn_rate:.4f})")
    print(f"  Brier score          {metrics.brier:.4f}")
    print(f"  lift in top decile   {metrics.lift_top_decile:.2f}")
    if metrics.cross_validation is not None:
        _print_cross_validation(metrics.cross_validation)


def _print_cross_validation(validation: CrossValidation) -> None:
    print(f"cross-validated on {validation.folds} parts of the training rows, mean ± deviation:")
    print(f"  AUC                  {validation.auc.mean:.4f} ± {validation.auc.deviation:.4f}")
    precision = validation.average_precision
    print(f"  average precision    {precision.mean:.4f} ± {precision.deviation:.4f}")
    print(f"  Brier score          {validation.brier.mean:.4f} ± {validation.brier.deviation:.4f}")
    lift = validation.lift_top_decile
    print(f"  lift in top decile   {lift.mean:.2f} ± {lift.deviation:.2f}")
