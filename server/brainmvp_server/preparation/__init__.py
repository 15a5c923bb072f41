"""From a study as the scanner gave it to one the models can read."""
