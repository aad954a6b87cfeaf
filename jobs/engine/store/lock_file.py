"""The file of a lock: made by one process only, renewed by its owner, and taken over by one process only.

Local file systems, S3, Google Cloud Storage and Azure make a file only if there is none, in one step. Other file
systems do not. There a lock is read again after a few seconds, and of two processes that made it at the same time the
last one has it. Nothing can be renamed in one step at a URL. So a process that takes over first makes a file that is
named by the old owner, which again only one process can. The old owner sees that file before it renews its lock.
"""

import errno
import json
import os
import time
import uuid
from dataclasses import dataclass
from typing import Any, Protocol

from jobs.engine.store.folder import OBJECT_STORES, Folder
from jobs.engine.store.writing import whole_file
from jobs.engine.terminal.place_errors import naming

NAME = "lock.json"
SETTLING_SECONDS = 2.0
"""How long a request that another process has sent may take to arrive, where a store has no other order of requests."""

THERE = ("PreconditionFailed", "ConditionalRequestConflict")
"""The codes with which S3 refuses to make a file that is there, or that two processes make at the same time."""

Owner = dict[str, Any]
"""The token of an owner, its host and process, and when it renewed the lock. Empty if there is no lock."""


class LockFile(Protocol):
    """The file of a lock in a folder."""

    def owner(self) -> Owner:
        """Returns the owner of the lock."""
        ...

    def created(self, owner: Owner) -> bool:
        """Makes the lock. Returns whether this process has made it."""
        ...

    def renewed(self, owner: Owner) -> bool:
        """Renews the lock. Returns whether the owner still has it."""
        ...

    def taken_over(self, old: Owner, owner: Owner) -> bool:
        """Takes the lock over from an owner that is gone. Returns whether this process has taken it."""
        ...

    def release(self, owner: Owner) -> None:
        """Removes the lock if the owner has it."""
        ...


def lock_file(folder: Folder, settling: float = SETTLING_SECONDS) -> LockFile:
    """Returns the file of the lock of a folder. settling: as SETTLING_SECONDS."""
    return LocalLockFile(folder.file(NAME)) if folder.local else RemoteLockFile(folder, settling)


@dataclass(frozen=True)
class LocalLockFile:
    """A lock on a file system of this machine."""

    path: str

    def owner(self) -> Owner:
        """Returns the owner of the lock."""
        return _read(self.path)

    def created(self, owner: Owner) -> bool:
        """Makes the lock. Returns whether this process has made it."""
        try:
            file = open(self.path, "xb")
        except FileExistsError:
            return False
        try:
            with file:
                file.write(_written(owner))
        except OSError:  # such as on a full disk: an empty lock would keep the next run waiting for its lease
            os.remove(self.path)
            raise
        return True

    def renewed(self, owner: Owner) -> bool:
        """Renews the lock. Returns whether the owner still has it."""
        if self.owner().get("token") not in (owner["token"], None):
            return False
        with whole_file(self.path) as file:  # on a full disk the lock stays as it is, and can be given back
            file.write(_written(owner))
        return True

    def taken_over(self, old: Owner, owner: Owner) -> bool:
        """Takes the lock over from an owner that is gone. Returns whether this process has taken it."""
        # Only one of several waiting runs can rename the stale lock; the others find it gone and try again.
        stale = f"{self.path}.{uuid.uuid4().hex}.stale"
        try:
            os.rename(self.path, stale)
        except FileNotFoundError:
            return False
        if _read(stale).get("token") != old.get("token"):
            os.rename(stale, self.path)
            return False
        os.remove(stale)
        return self.created(owner)

    def release(self, owner: Owner) -> None:
        """Removes the lock if the owner has it."""
        if self.owner().get("token") == owner["token"]:
            os.remove(self.path)


@dataclass(frozen=True)
class RemoteLockFile:
    """A lock at a URL."""

    folder: Folder
    settling: float

    def owner(self) -> Owner:
        """Returns the owner of the lock."""
        return self._read(NAME)

    def created(self, owner: Owner) -> bool:
        """Makes the lock. Returns whether this process has made it."""
        if not self._made(NAME, owner):
            return False
        return self._refuses(NAME, owner) or self._settled(owner)

    def renewed(self, owner: Owner) -> bool:
        """Renews the lock. Returns whether the owner still has it."""
        if self.owner().get("token") not in (owner["token"], None) or self.folder.exists(_taking(owner)):
            return False
        self.folder.write(NAME, _written(owner))
        return True

    def taken_over(self, old: Owner, owner: Owner) -> bool:
        """Takes the lock over from an owner that is gone. Returns whether this process has taken it."""
        if not old:
            self.folder.remove(NAME)  # a lock that says nothing: it was not written by Winnow, or not whole
            return self.created(owner)
        if not self._made(_taking(old), owner):
            return False
        try:
            time.sleep(self.settling)  # what the old owner had sent already has arrived
            if self.owner().get("token") != old["token"]:
                return False
            self.folder.write(NAME, _written(owner))
            return self._settled(owner)
        finally:
            self.folder.remove(_taking(old))

    def release(self, owner: Owner) -> None:
        """Removes the lock if the owner has it."""
        if self.owner().get("token") == owner["token"]:
            self.folder.remove(NAME)

    def _made(self, name: str, owner: Owner) -> bool:
        """Makes a file if there is none. Returns whether it was made."""
        try:
            self._create(name, owner)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            if self.folder.exists(name):
                return False
            self.folder.write(name, _written(owner))
        return True

    def _create(self, name: str, owner: Owner) -> None:
        fs, root = self.folder.opened()
        try:
            with naming(self.folder.file(name)):
                fs.pipe_file(f"{root}/{name}", _written(owner), mode="create")
        except OSError as error:
            if _is_there(error):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.folder.file(name)) from error
            raise

    def _refuses(self, name: str, owner: Owner) -> bool:
        """Whether the store itself refuses to make a file, which this process has made, a second time."""
        fs, _ = self.folder.opened()
        if OBJECT_STORES.isdisjoint((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol):
            return False  # there fsspec looks whether the file is there, and then makes it
        try:
            self._create(name, owner)
        except OSError as error:
            return isinstance(error, FileExistsError)
        return False

    def _settled(self, owner: Owner) -> bool:
        """Whether the lock is still this owner's when what others had sent has arrived."""
        time.sleep(self.settling)
        return self.owner().get("token") == owner["token"]

    def _read(self, name: str) -> Owner:
        try:
            return json.loads(self.folder.content(name) or b"{}")
        except (FileNotFoundError, json.JSONDecodeError):
            return {}


def _is_there(error: BaseException | None) -> bool:
    """Whether an error is the answer of a store that has the file already, or just now makes it for another process.

    s3fs knows it by the name of the condition, which Amazon's answer has and that of MinIO has not.
    """
    while error is not None:
        if getattr(error, "response", {}).get("Error", {}).get("Code") in THERE:
            return True
        error = error.__cause__
    return False


def _taking(owner: Owner) -> str:
    """The name of the file of a process that takes over from an owner."""
    return f"lock-{owner['token']}.taken"


def _read(path: str) -> Owner:
    try:
        with open(path, "rb") as file:
            return json.loads(file.read() or b"{}")
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def _written(owner: Owner) -> bytes:
    return json.dumps({**owner, "renewed": time.time()}).encode()
