"""Trains, checks, serves and scores bundles of churn models. Knows nothing of Kubernetes."""

__version__ = "0.2.0"
