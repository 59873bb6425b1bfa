"""How long backups live, and how they are removed."""
