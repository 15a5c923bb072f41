"""From a checkpoint to a bundle: rewrite, export, prove equal, write."""
