"""Parts that networks are made of: radial functions, heads, conditioning, force inputs."""
