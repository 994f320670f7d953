"""Arrays on NVIDIA and AMD graphics cards, through CuPy."""
