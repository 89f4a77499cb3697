"""The shipped models and the one place that reads them."""
