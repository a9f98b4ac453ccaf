"""The actions that write packages, and that check them with their clients."""
