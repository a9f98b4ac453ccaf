"""What steps need besides their inputs, and whether it is installed."""
