"""OpenConfD: the administration daemon of a cluster, over open components."""

__version__ = "0.1.0"
