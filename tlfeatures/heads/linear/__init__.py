"""Linear heads: C along a path, by cross-validation in the training data. Only `heads` looks in here."""
