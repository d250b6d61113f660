"""Trains, checks, serves and scores bundles of churn models. Knows nothing of Kubernetes."""

__version__ = "0.1.0"
