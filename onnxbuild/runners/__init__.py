"""Runners: their protocol, the local runner, and the environments in which workers run."""
