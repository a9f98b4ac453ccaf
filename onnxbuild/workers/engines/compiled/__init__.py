"""Running what a backend compiled."""
