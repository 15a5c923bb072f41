"""Batch scoring: many studies from one source, through one server, to every sink, resumable.

``study`` says what travels, ``protocols`` what a source and a sink are, ``run`` carries studies
from the one to the other, ``ledger`` remembers which of them are done.
"""
