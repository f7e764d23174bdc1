"""Layers of a network: found by name, cut, heard, pooled. Only `backbones` looks in here."""
