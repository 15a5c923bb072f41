"""The commands that serving brings: serve, doctor, fetch, keys, and what works without a server."""
