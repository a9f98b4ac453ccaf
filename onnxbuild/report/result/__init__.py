"""What a run came to: tables of variants, reasons, and where the time went."""
