"""The demo family: tiny language models, the two benchmarks that tell them apart, and how both are made."""
