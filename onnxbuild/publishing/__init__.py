"""What publishing a folder changes at its destination: the files to upload, and the difference by digest."""
