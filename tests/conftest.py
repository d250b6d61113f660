"""What every run says of itself."""

from .chance import SEED


def pytest_report_header() -> str | None:
    return f"CHURN_SEED={SEED} repeats what chance draws" if SEED else None
