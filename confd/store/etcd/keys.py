"""Where things lie in etcd: everything of one cluster is below one prefix.

====================================  ==============================================================
``<prefix>cluster``                   UUID of the cluster that owns the prefix
``<prefix>term``                      ``Term``: the highest term and its master; raised, never lowered
``<prefix>head``                      ``Head``: the last record, and which append wrote it
``<prefix>revision``                  ``RevisionRow``: who made the newest revision
``<prefix>log/<n>``                   the records of one append; ``n`` is that of the last one
``<prefix>sections/<key>``            ``Section``: a section of the configuration as it is now
``<prefix>runtime/<key>``             a runtime record
``<prefix>jobs/<id>/<n>``             a record of a job that is not over
``<prefix>bulk``                      changes of one record that are too many for one transaction, until spread
``<prefix>chunk/<n>/<slot>/<i>``      parts of values that are too large for one key
``<prefix>master``                    the master's lease: its node and term
``<prefix>software``                  the version that the last master ran
``<prefix>nodes/<node>``              the lease of a node that is alive: the version that it runs
``<prefix>next``                      to whom the master gives its place
====================================  ==============================================================
"""

from __future__ import annotations

from confd.store.etcd.access import DEFAULT_PREFIX
from confd.store.etcd.client import prefix_end


class Keys:
    """The keys below one prefix."""

    def __init__(self, prefix: str = DEFAULT_PREFIX) -> None:
        self.prefix = prefix.encode()
        self.end = prefix_end(self.prefix)
        self.cluster, self.term, self.head = (self.prefix + name for name in (b"cluster", b"term", b"head"))
        self.bulk, self.master, self.next = (self.prefix + name for name in (b"bulk", b"master", b"next"))
        self.revision, self.software = self.prefix + b"revision", self.prefix + b"software"
        self.logs, self.sections, self.runtime, self.jobs, self.chunks, self.nodes = (
            self.prefix + name for name in (b"log/", b"sections/", b"runtime/", b"jobs/", b"chunk/", b"nodes/")
        )

    def log(self, n: int) -> bytes:
        """Return the key of the append that ended with record ``n``."""
        return self.logs + _number(n)

    def section(self, key: str) -> bytes:
        """Return the key of a section."""
        return self.sections + key.encode()

    def record(self, key: str) -> bytes:
        """Return the key of a runtime record."""
        return self.runtime + key.encode()

    def job(self, job_id: str) -> bytes:
        """Return what all keys of a job begin with."""
        return self.jobs + job_id.encode() + b"/"

    def job_record(self, job_id: str, n: int) -> bytes:
        """Return the key of a job's record."""
        return self.job(job_id) + _number(n)

    def chunk(self, n: int, slot: str, part: int | None = None) -> bytes:
        """Return the key of a part of a large value; without ``part`` what all of its parts begin with."""
        start = self.chunks + _number(n) + b"/" + slot.encode() + b"/"
        return start if part is None else start + b"%06d" % part

    def chunks_before(self, n: int) -> bytes:
        """Return the end of the range of all parts of records before ``n``."""
        return self.chunks + _number(n)

    def node(self, node: int) -> bytes:
        """Return the key of a node's lease."""
        return self.nodes + b"%d" % node


def _number(n: int) -> bytes:
    return b"%020d" % n
