"""Parts of screens: one value in, one message out."""
