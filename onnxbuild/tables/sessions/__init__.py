"""What can be set of the sessions in which graphs run."""
