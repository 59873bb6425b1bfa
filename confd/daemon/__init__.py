"""One node, assembled: the only place that knows all parts."""
