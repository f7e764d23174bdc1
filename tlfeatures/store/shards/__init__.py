"""Immutable HDF5 shards: written, read row by row, looked up by key. Only `store` looks in here."""
