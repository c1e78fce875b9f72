"""A page with pictures from a file of results, and the difference between two files."""
