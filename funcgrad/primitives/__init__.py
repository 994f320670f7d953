"""The operations that exist, and all that each means. Read `basis`, then `kinds`, then the
families.
"""
