"""Recipes: what their sections have in common, what is wrong in them, and the page that lists their keys."""
