"""The report of a training run: one page that is written again at every validation."""
