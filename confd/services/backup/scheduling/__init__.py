"""When backups are taken by themselves."""
