"""AV-recall: audio-visual retrieval, a tiny thinker of the real architecture that learns it, every method on it."""
