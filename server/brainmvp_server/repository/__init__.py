"""The model repository: which bundles a folder holds, and which of them are served now."""
