"""How work runs on Ray: the session, its profile, the maps and reduces on workers, and the report of failures."""
