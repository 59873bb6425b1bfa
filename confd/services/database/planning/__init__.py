"""What should happen to a database: situations in, decisions out. Pure, nothing here does I/O."""
