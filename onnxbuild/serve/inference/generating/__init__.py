"""Models that write text token by token."""
