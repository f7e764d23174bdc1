"""Which parts are trained, when and how fast, as plain data. Only `finetuning` looks in here."""
