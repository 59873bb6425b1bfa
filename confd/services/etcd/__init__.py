"""etcd members: servers that nodes run for the cluster's store, as many as its size makes sensible."""
