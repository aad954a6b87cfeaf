"""What people read of a run: the report and the dataset card."""
