"""Storage: devices, volumes and their segments."""
