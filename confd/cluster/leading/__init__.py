"""The master's side of the cluster: who its nodes are, what each is told, commands, quorum, handing over."""
