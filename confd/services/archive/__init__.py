"""Archive volumes: files cut into parts, with checksums and copies on several nodes.

Words: a volume has **shares**; each share has as many **copies** as the volume's redundancy, on different nodes. What
one node holds of a volume is its **shelf**. A file is cut into **parts**; a part goes to one share, with a copy on each
of its nodes; a copy is a data file and a **table** with the CRC of every stripe. A file exists once an **index** of it
is on a shelf. An **upload** is a file on its way; a **tombstone** says that a file was deleted.

Rules that everything rests on:

* An id names one upload for ever. Parts and indexes never change, so copies on two nodes cannot differ in age.
* All copies of all parts are durable before the first index is written: whatever has an index is whole.
* Where one shelf has a tombstone, the file is dead on all of them: a node that was away brings nothing back.
* An upload lives while somebody holds a lock for it on any shelf; the kernel frees it when that process ends, and the
  node's daemon when the connection to that process ends. What is left of a dead upload is removed once every node that
  could have got its index was asked.
* A shelf holds what it should (``survey``) or its node fetches it from the others (``repair``).

How to open one, in a daemon's thread or in a worker process of its own::

    archive = open_archive(host.node, host.root, layout_of(host.conf(), "ArchiveVolume1"))

``Layout`` is plain data (``msgspec.json.encode``), so the daemon can hand it to a worker, which knows its node id and
node root from its arguments. The node's own shelf is used through its files, the others through their node ports with
the certificates below the node root. Everything blocks; one archive can be used by several threads, each reader and
writer by one.
"""
