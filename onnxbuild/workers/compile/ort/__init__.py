"""The backend `ort`."""
