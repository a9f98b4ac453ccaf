"""What the lock file pins: its fields checked, and how toolchains are resolved."""
