"""Programs in, callables out. Nobody imports these modules but `core.backend.load`, by name."""
