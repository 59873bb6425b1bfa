"""The process that is parent of one server and outlives the daemon, and how it is asked."""
