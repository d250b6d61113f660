"""Makes a Kubernetes cluster look like each ChurnModel asks."""

from importlib.metadata import version

__version__ = version("churn-operator")
