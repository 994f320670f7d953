"""What a value, a primitive, a trace and a program are. Read `trace`, `primitive`, `jaxpr`,
`stage` in this order.
"""
