"""Record: one append-only table of events, the only truth of a search."""
