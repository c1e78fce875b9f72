"""Schedules in models of Hugging Face: `attach`, one prefill in the order in which it happens."""
