"""The REST service: routes, uploads, answers and the one table of HTTP status codes."""
