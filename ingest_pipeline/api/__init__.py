"""The HTTP server, ``ingest serve``: the ingest endpoint and the profile API.

request ─▶ guard (host, size, key, headers) ─▶ route ─▶ rate ─▶ the core's functions, in a thread ─▶ wire.py
"""
