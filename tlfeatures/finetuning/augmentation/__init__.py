"""How training pictures are varied. Only `finetuning` looks in here."""
