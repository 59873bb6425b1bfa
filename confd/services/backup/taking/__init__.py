"""Taking a backup: the worker process, from the server's stream to the files on a volume."""
