"""Quality control: metrics, thresholds, verdicts."""
