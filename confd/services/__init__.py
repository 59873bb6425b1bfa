"""What jobs administer; each service knows its node side and its decisions, and no jobs."""
