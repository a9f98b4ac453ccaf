"""What the Hub, and the libraries that load what is published, call things."""
