"""What a run has measured, kept in the store, so that nothing is measured twice.

<store>/<kind>/<fingerprint>.json
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from jobs.engine.execute.session import Session, connect
from operators.base import canonical_digest


def remembered(session: Session, kind: str, identity: Mapping[str, Any], measure: Callable[[], Any]) -> Any:
    """What `measure` returns, plain JSON values; from the store where this identity was measured before.

    kind: the folder in the store. Ray is connected only where something is measured.
    """
    name = f"{canonical_digest(identity)[:16]}.json"
    folder = session.store.folder.inner(kind)
    if not folder.exists(name):
        connect(session.profile, session.store.folder)
        found = measure()
        folder.make()
        folder.write(name, json.dumps(found).encode())
    return json.loads(folder.content(name))
