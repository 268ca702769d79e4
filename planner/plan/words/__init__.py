"""What a plan's parts say in words."""
