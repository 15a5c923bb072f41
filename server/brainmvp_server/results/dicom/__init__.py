"""Results as DICOM objects: a segmentation, a measurement report, an overlay.

:mod:`objects` says which objects a result has; every other module makes one kind.
"""
