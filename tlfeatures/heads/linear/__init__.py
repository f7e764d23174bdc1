"""Linear heads: C along a path, chosen in the training data. Only `heads` looks in here."""
