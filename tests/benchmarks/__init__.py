"""Measurements that are too slow for the test run."""
