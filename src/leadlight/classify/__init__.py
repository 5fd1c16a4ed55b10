"""Networks that name a diagnosis: architectures, model cards, training, scoring."""
