"""Machinery around the reconciling: client, caches, queue and schedule. Knows nothing of models."""
