"""What people read about a run: the report and the dataset card. Nothing here decides anything about a sample."""
