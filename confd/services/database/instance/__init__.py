"""What a node does for its instance of a database by order of the master."""
