"""Engines without a cluster: in this process, and on a virtual clock."""
