"""From a program to kernels: passes, clusters, buffers. Knows no backend; backends ask it for a
`Program`.
"""
