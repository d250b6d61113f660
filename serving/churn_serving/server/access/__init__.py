"""Who may ask, how often, and from which pages."""
