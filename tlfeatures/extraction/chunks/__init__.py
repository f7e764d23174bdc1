"""A chunk of pictures, and the map over chunks, here and in worker processes.

Only `extraction` looks in here.
"""
