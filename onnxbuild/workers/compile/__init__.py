"""compile: hands a model to the compiler of a backend."""
