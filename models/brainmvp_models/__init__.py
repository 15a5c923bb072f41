"""What a BrainMVP model is: modalities, tasks, bundles, templates, networks and checkpoints.

Importing this package, or any module directly under it except :mod:`~brainmvp_training.checkpoint`,
imports no torch. Networks live in :mod:`brainmvp_training.networks` and need the ``export`` extra.
"""

__version__ = "0.1.0"
