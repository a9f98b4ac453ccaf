"""The backend `qnn`."""
