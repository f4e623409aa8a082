"""MLflow: a sink that follows the record."""
