"""What planning does for compiled targets."""
