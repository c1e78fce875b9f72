"""Published methods as schedules of the operators, one a file."""
