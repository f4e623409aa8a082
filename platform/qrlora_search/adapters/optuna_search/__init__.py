"""Optuna: the study and the sampler."""
