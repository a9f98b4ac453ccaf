"""What is known of compilers and of what they take."""
