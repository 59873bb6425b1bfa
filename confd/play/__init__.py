"""Plays: clusters whose nodes are daemons on this machine, made and looked after by ``c4``."""
