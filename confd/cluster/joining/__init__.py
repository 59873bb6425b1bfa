"""How a machine becomes a node: tokens, the request, the answer."""
