"""Processes that outlive the daemon: keepers of databases and workers of backups."""
