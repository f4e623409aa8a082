"""Shared preparation: artefacts addressed by what made them, made once."""
