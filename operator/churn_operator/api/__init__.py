"""The ChurnModel API: its types, conditions and reasons. Knows nothing of how they are reconciled."""
