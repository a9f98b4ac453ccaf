"""The environments of toolchains: an interpreter that exists, and one that is created from the lock."""
