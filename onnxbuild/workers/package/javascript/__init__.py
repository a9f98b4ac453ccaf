"""What packages for Transformers.js consist of, and the check of one with the library itself."""
