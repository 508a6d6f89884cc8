"""Metal kernels with their references in MLX operations."""
