"""How a run is done here, in words and weighed, and how long it takes.

Only `extraction` looks in here.
"""
