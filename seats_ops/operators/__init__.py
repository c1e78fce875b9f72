"""What a schedule is made of: the protocol of stages, and the operators that keep to it."""
