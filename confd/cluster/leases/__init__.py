"""Leases of nodes: what may take writes, until when, and when it certainly does no longer."""
