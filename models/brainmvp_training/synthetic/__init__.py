"""Synthetic multi-parametric studies of real anatomy, with gliomas.

The way from anatomy to study, one module a step: :mod:`anatomy` reads real brains as tissue shares,
:mod:`deformation` bends them into new subjects, :mod:`glioma` grows a lesion, :mod:`contrast`
paints a modality, :mod:`study` puts it together, :mod:`writing` writes NIfTI files and a datalist.
Everything is a function of a seed. No scanner made these images: they teach and test software.
"""
