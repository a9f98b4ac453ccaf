"""The graph of actions as text and as images."""
