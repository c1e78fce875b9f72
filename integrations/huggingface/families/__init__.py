"""What differs between model families: where towers and decoder are, and what they produce."""
