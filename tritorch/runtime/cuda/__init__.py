"""NVIDIA GPUs: the driver, streams, device and pinned memory, and arrays. Importing any of it touches no GPU."""
