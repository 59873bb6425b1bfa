"""Snapshots: copies of a database's data beside it."""
