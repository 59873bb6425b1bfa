"""How fast OpenConfD is, beside others that do a part of its work: ``python -m bench``."""
