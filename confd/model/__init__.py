"""Values shared by all layers: errors, states, sizes, durations, secrets."""
