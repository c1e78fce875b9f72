"""Tuning the launch table of the device at hand."""
