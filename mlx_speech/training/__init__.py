"""The training loop; knows no model."""
