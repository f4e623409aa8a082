"""Prometheus: a sink that follows the record and serves metrics of a running search."""
