"""A node's side of the cluster: it follows the master, keeps a copy of the configuration, runs commands."""
