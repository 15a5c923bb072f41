"""The calls of MONAI Label that viewers make: 3D Slicer's extension, OHIF's plugin, MITK.

Names and shapes are those of MONAI Label 0.8 (its client, and the plugins in its repository);
answers are made from the service's own results. Off by default: the setting ``monailabel``.
"""
