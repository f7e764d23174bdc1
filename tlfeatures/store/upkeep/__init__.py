"""Looking after a cache folder: info, verify, repair, merge, gc, export.

Only `store` looks in here.
"""
