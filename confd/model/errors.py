"""Every error a user or another node can see.

    ConfDError
    ├── RequestError          1xx
    │   ├── UnknownJob            101 UNKNOWN_JOB
    │   ├── UnknownParameter      102 UNKNOWN_PARAMETER
    │   ├── MissingParameter      103 MISSING_PARAMETER
    │   └── InvalidParameter      104 INVALID_PARAMETER
    ├── RightsError           2xx
    │   ├── PermissionDenied      201 PERMISSION_DENIED
    │   ├── LoginFailed           202 LOGIN_FAILED
    │   └── TooManyAttempts       203 TOO_MANY_ATTEMPTS
    ├── StateError            3xx
    │   ├── NotFound              301 NOT_FOUND
    │   ├── AlreadyExists         302 ALREADY_EXISTS
    │   ├── WrongState            303 WRONG_STATE
    │   ├── InUse                 304 IN_USE
    │   ├── Conflict              305 CONFLICT
    │   ├── Locked                306 LOCKED
    │   └── LimitExceeded         307 LIMIT_EXCEEDED
    ├── StorageError          4xx  (the STE_* names)
    │   ├── StorageFailed         401 STE_FAILED
    │   ├── StorageWrite          402 STE_WRITE
    │   ├── StorageNotFound       403 STE_EXIST
    │   ├── InsufficientSpace     404 STE_INSUFF_SPACE
    │   ├── StorageDuplicate      405 STE_DUPLICATE
    │   └── StorageCorrupted      406 STE_CORRUPTED
    ├── ClusterError          5xx
    │   ├── NodeOffline           501 NODE_OFFLINE
    │   ├── NoQuorum              502 NO_QUORUM
    │   ├── NoMaster              503 NO_MASTER
    │   ├── TimedOut              504 TIMEOUT
    │   └── NodeError             505 NODE_ERROR
    ├── OutsideError          6xx
    │   ├── RemoteError           601 REMOTE_ERROR
    │   ├── ProviderError         602 PROVIDER_ERROR
    │   └── Unsupported           603 UNSUPPORTED
    └── OwnError              9xx
        ├── Internal              901 INTERNAL
        ├── Interrupted           902 INTERRUPTED
        └── Canceled              903 CANCELED

The message says what is wrong and what to do. Code and name are stable: programs compare them.
"""

from __future__ import annotations

from typing import ClassVar

_BY_CODE: dict[int, type[ConfDError]] = {}


class ConfDError(Exception):
    """Root of all errors that end a job; becomes a result envelope, never a traceback."""

    code: ClassVar[int] = 0
    name: ClassVar[str] = ""

    def __init_subclass__(cls, code: int = 0, name: str = "") -> None:
        super().__init_subclass__()
        if code:
            cls.code, cls.name = code, name
            _BY_CODE[code] = cls

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def error_from(code: int, message: str) -> ConfDError:
    """Build the error that another node reported as ``code`` and ``message``."""
    return _BY_CODE.get(code, Internal)(message)


class RequestError(ConfDError):
    """The call itself is wrong; nothing was tried."""


class UnknownJob(RequestError, code=101, name="UNKNOWN_JOB"):
    """No job has this name."""


class UnknownParameter(RequestError, code=102, name="UNKNOWN_PARAMETER"):
    """The job does not take this parameter."""


class MissingParameter(RequestError, code=103, name="MISSING_PARAMETER"):
    """A mandatory parameter (or its substitute) was left out."""


class InvalidParameter(RequestError, code=104, name="INVALID_PARAMETER"):
    """A value has the wrong type or lies outside its range."""


class RightsError(ConfDError):
    """The caller may not do this."""


class PermissionDenied(RightsError, code=201, name="PERMISSION_DENIED"):
    """The caller is known but the job is not allowed to him."""


class LoginFailed(RightsError, code=202, name="LOGIN_FAILED"):
    """User unknown, login disabled or password wrong."""


class TooManyAttempts(RightsError, code=203, name="TOO_MANY_ATTEMPTS"):
    """Logins from this address or for this user are slowed down."""


class StateError(ConfDError):
    """The objects named are not in a state that allows the job."""


class NotFound(StateError, code=301, name="NOT_FOUND"):
    """The object named does not exist."""


class AlreadyExists(StateError, code=302, name="ALREADY_EXISTS"):
    """The name or id is taken."""


class WrongState(StateError, code=303, name="WRONG_STATE"):
    """The object must first be brought into another state."""


class InUse(StateError, code=304, name="IN_USE"):
    """Something else relies on the object."""


class Conflict(StateError, code=305, name="CONFLICT"):
    """The configuration changed under the job; run it again."""


class Locked(StateError, code=306, name="LOCKED"):
    """The object is locked."""


class LimitExceeded(StateError, code=307, name="LIMIT_EXCEEDED"):
    """A limit of size, number or free space is reached."""


class StorageError(ConfDError):
    """The storage service refused or failed."""


class StorageFailed(StorageError, code=401, name="STE_FAILED"):
    """The storage operation failed."""


class StorageWrite(StorageError, code=402, name="STE_WRITE"):
    """Writing to the device failed."""


class StorageNotFound(StorageError, code=403, name="STE_EXIST"):
    """The storage object does not exist on the node."""


class InsufficientSpace(StorageError, code=404, name="STE_INSUFF_SPACE"):
    """The disk has not enough free space."""


class StorageDuplicate(StorageError, code=405, name="STE_DUPLICATE"):
    """The device is already registered."""


class StorageCorrupted(StorageError, code=406, name="STE_CORRUPTED"):
    """A checksum on the device does not match."""


class ClusterError(ConfDError):
    """A node or the cluster as a whole cannot serve."""


class NodeOffline(ClusterError, code=501, name="NODE_OFFLINE"):
    """The node does not answer."""


class NoQuorum(ClusterError, code=502, name="NO_QUORUM"):
    """Too few nodes are online to accept changes."""


class NoMaster(ClusterError, code=503, name="NO_MASTER"):
    """No master can be reached."""


class TimedOut(ClusterError, code=504, name="TIMEOUT"):
    """The wait limit passed first."""


class NodeError(ClusterError, code=505, name="NODE_ERROR"):
    """A command failed on its node."""


class OutsideError(ConfDError):
    """Something outside the cluster refused."""


class RemoteError(OutsideError, code=601, name="REMOTE_ERROR"):
    """A remote service answered with an error."""


class ProviderError(OutsideError, code=602, name="PROVIDER_ERROR"):
    """The infrastructure provider answered with an error."""


class Unsupported(OutsideError, code=603, name="UNSUPPORTED"):
    """The installation or platform cannot do this; the message says what is needed."""


class OwnError(ConfDError):
    """ConfD itself failed or stopped the job."""


class Internal(OwnError, code=901, name="INTERNAL"):
    """A defect of ConfD."""


class Interrupted(OwnError, code=902, name="INTERRUPTED"):
    """The job was undone because it could not be continued after a restart."""


class Canceled(OwnError, code=903, name="CANCELED"):
    """The job was canceled."""
