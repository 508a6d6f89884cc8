"""Blocks shared by models: convolutions, norms, attention."""
