"""Programs that OpenConfD is compared with; each runs as a process of its own."""
