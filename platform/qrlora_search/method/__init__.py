"""Method: bases, the adapter layer, encoders, data, metrics and training."""
