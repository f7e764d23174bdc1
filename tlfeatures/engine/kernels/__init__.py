"""Operations of our own: compiled for this machine, loaded from where only the user writes.

Only `engine` looks in here.
"""
