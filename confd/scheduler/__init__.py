"""How a job is declared, admitted, locked, run, recorded and recovered."""
