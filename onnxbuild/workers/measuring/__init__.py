"""How far outputs are from those of a reference: what a validation, a search and a tuning judge by."""
