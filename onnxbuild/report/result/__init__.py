"""The result of a run: tables of variants, reasons, failures, and where the time went."""
