"""The jobs, one module per group; every function with ``@job`` is one."""
