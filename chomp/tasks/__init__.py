"""Tasks with right answers: reading them, and scoring parameters on them."""
