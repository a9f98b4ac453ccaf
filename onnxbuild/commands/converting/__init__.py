"""Commands that convert one model without a manifest of the user: they write one, and run it."""
