"""Weights: files and entries by name, their formats, names and heads.

Only `backbones` looks in here.
"""
