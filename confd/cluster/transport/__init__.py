"""Connections between nodes: links for calls, streams for bulk data, the port that takes both."""
