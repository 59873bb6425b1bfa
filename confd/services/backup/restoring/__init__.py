"""From backups back to data: checking, reading, combining, opening for reading."""
