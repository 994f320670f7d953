"""How programs are differentiated, transposed and batched. Read `partial`, `autodiff`,
`transpose`, `batching`.
"""
