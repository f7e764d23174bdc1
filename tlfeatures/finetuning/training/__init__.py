"""How a network is trained: its last layer, its steps, its rates, what is kept of it.

Only `finetuning` looks in here.
"""
