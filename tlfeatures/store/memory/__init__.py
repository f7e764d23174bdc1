"""What the cache remembers beside codes, to save time. Only `store` looks in here."""
