"""What models are fed: samples, sentences, rows of datasets, and the stages that read them."""
