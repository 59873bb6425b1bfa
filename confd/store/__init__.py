"""Where configuration, runtime records and jobs are kept."""
