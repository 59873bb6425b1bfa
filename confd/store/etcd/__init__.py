"""etcd as the store: quorum-durable head, sections, runtime records and unfinished jobs; leases; watches."""
