"""From a run's files to all that a screen knows of it; no widget anywhere."""
