"""Where pictures come from: folders, manifests, data sets. Only `pictures` looks in here."""
