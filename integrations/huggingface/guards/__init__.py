"""What is refused, and how a newer transformers is tried."""
