"""Labels by atlases, and templates."""
