"""Synthetic studies as wide as the world: many heads, contrasts, lesions and ways to go wrong.

In the manner of SynthSeg (Billot et al., Med Image Anal 86:102789, 2023) and SynthStrip (Hoopes et
al., NeuroImage 260:119474, 2022): label maps of whole heads are bent, painted with drawn contrasts
and spoiled as scanners and preparation spoil them. The steps, one module each: :mod:`heads` reads
label maps as tissue shares, :mod:`real_brains` reads scans of people without a tumour,
:mod:`bending` makes new subjects, :mod:`tumours` and :mod:`other_lesions` grow what is to be found
and what is not, :mod:`brightness` paints a series, :mod:`extraction` cuts the brain out as tools
do, :mod:`acquisition` makes slices, noise and misalignment, :mod:`wide_study` puts it together.

Volumes are (X, Y, Z) in R, A, S order with voxels of 2 mm; every study is a function of its seed.
"""
