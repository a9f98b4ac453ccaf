"""Exceptions of the libraries, explained."""
