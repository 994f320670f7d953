"""What users call: differentiation, vectorization, compilation, inspection."""
