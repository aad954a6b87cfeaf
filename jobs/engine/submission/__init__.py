"""A command sent to a Ray cluster as a job: what is sent, what is checked before, and how it is followed.

Nothing here runs on the cluster.
"""
