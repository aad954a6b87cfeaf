"""The machinery under the verbs map and reduce: pools, the store, streaming, selections and what a run writes."""
