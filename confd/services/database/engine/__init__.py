"""PostgreSQL on its node: installations, data directories, configuration files, starting and stopping."""
