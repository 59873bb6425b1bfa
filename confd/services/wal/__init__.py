"""The WAL archive of a database: every finished piece of its log, kept on an archive volume for point-in-time restores.

PostgreSQL copies each finished segment into a **spool** on its node, on all nodes of the database: a standby has what a
dead primary had no time to hand over. The master has nodes **ship** their spools to the volume, compressed; only what
is there is removed from a spool. On the volume segments lie at ``<database>/wal/<generation>/<name>.zst``: what was
restored goes on under a generation of its own, so histories never mix.

A spool is bounded: a database does not stop because its archive is full or cannot be reached. What no longer fits is a
**gap**: db_info says so, and points in time behind it can be restored again from the next backup on.
"""
