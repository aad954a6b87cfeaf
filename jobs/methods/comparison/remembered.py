"""What was measured of a selection, in the store, so that it is measured once.

<store>/comparisons/<fingerprint>.json
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jobs.engine.execute.session import Session, connect
from operators.base import canonical_json


def remembered(session: Session, identity: Mapping[str, Any], measure: Callable[[], Any]) -> Any:
    """What `measure` returns, plain JSON values; from the store where this identity was measured before.

    Ray is connected only where something is measured.
    """
    name = f"{hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:16]}.json"
    folder = session.store.folder.inner("comparisons")
    if not folder.exists(name):
        connect(session.profile, session.store.folder)
        found = measure()
        folder.make()
        folder.write(name, json.dumps(found).encode())
    return json.loads(folder.content(name))


def digest(ids: np.ndarray) -> str:
    """Hex SHA-256 of int64 ids in their order."""
    return hashlib.sha256(np.ascontiguousarray(ids, np.int64).tobytes()).hexdigest()
