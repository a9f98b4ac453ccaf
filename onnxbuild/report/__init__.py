"""Turns events and outcomes into what people and programs read."""
