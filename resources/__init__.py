"""Dagster resources: a core object plus its configuration and lifecycle."""
