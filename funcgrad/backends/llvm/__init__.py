"""Native code for the CPU: kernels rendered to LLVM's language and compiled in memory."""
