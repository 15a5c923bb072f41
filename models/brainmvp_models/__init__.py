"""What a BrainMVP model is: modalities, tasks, bundles, templates, errors. Imports no torch."""

__version__ = "0.1.0"
