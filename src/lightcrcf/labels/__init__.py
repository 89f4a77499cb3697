"""Label an image by atlases."""
