"""Bytes -> right RGB, damage and depth included. Only `pictures` looks in here."""
