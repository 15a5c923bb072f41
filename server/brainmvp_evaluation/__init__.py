"""Measure a bundle on the pipeline that serves it. Needs the ``train`` extra."""
