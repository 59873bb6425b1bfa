"""The master's side: one supervisor per database observes, asks the planner and carries out."""
