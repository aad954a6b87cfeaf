"""How work runs on Ray: the session and its profile, the stream of a map through workers, and what a failure says."""
