"""Adapters to the outside, one folder per third-party library."""
