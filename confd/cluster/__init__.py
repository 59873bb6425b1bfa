"""Nodes: links between them, agents, distribution of the journal, heartbeat."""
