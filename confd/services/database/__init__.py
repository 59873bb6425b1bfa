"""Databases: PostgreSQL instances, their keepers, and who supervises them."""
