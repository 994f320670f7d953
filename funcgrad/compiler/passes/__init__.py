"""The passes, a file each: program in, program out. Their order is in `compiler/pipeline.py`."""
