"""Studies from a PACS and results back to it; needs the ``pacs`` extra.

``dicomweb`` and ``dimse`` speak to a PACS, ``storage`` and ``spool`` take what a PACS sends,
``deidentify`` stands between it and a server that must not know whose studies they are.
"""
