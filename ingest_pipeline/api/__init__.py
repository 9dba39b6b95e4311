"""The HTTP server, ``ingest serve``: ingest endpoint, profile API, LLM proxy and the pages to look at.

request ─▶ guard (host, size, key, headers) ─▶ route ─▶ rate ─▶ the core's functions, in a thread ─▶ wire.py
"""
