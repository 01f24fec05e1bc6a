"""The terminal dashboard: a client of a control API."""
