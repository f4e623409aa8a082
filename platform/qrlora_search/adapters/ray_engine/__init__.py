"""Ray: the Tune engine and the Train warm-up."""
