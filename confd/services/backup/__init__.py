"""Backups of databases: taking, keeping, checking and restoring them."""
