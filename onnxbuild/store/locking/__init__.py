"""Locks on files, as operating systems and file systems offer them."""
