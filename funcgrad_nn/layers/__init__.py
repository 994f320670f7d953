"""Layers, by kind; `funcgrad_nn` re-exports them all."""
