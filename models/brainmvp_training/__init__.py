"""The training side: what makes checkpoints and templates. Needs the ``train`` extra."""
