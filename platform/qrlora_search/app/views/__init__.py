"""What a front view is made of: each part is built from the record alone."""
