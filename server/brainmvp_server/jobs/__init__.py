"""Durable jobs: a study is accepted once, and done though processes and databases come and go."""
