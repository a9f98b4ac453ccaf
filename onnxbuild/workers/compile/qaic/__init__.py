"""Qualcomm Cloud AI 100: graphs whose cache stays on the card, and what its compiler is given."""
