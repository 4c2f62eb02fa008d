"""What charts of the console and of reports have in common: smoothing, ranges and ticks; NumPy alone."""

# Steps that the loss of a run is averaged over, until the user chooses others.
DEFAULT_SPAN = 30
