"""DICOM in: files to series, series to volumes.

Files are read as headers first (:mod:`files`), their frames are grouped and checked
(:mod:`series`), and only the series that are chosen are decoded (:mod:`pixels`). Nothing here
decides which modality a series is; that is :mod:`brainmvp_server.imaging.identify`.
"""
