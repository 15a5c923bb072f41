"""Which modality is a series? Rules as data, an answer with its evidence, or UNKNOWN.

``rules.yaml`` holds the rules, :mod:`rules` reads and matches them, :mod:`decide` weighs them for
one series, :mod:`study` compares the series of a study and chooses the best of each modality.
"""
