"""Who may use the cluster: users, groups, passwords."""
