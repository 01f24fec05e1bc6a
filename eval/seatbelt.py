"""The same confinement on macOS, through its sandbox (`sandbox_init`, the function behind `sandbox-exec`).

Written from the profiles that the system itself ships and never run by us: the level that it gives is called
`in-process` once its probe has shown that it holds.
"""

import ctypes
from collections.abc import Sequence

_PROFILE = """(version 1)
(deny default)
(allow process-info* (target self))
(allow signal (target self))
(allow sysctl-read)
(allow mach-lookup (global-name "com.apple.MTLCompilerService"))
(allow iokit-open)
(allow file-read-metadata)
(allow file-read* (subpath "/usr/lib") (subpath "/System/Library") (subpath "/System/Volumes/Preboot/Cryptexes")
  (literal "/dev/null") (literal "/dev/urandom") (literal "/dev/random"){paths})
(allow file-write* (literal "/dev/null"))
"""


def profile(readable: Sequence[str]) -> str:
    """A profile without network, programs, new processes and files but those at or beneath `readable`."""
    rules = "".join(f"\n  (subpath {_quoted(path)})" for path in readable)
    return _PROFILE.format(paths=rules)


def restrict(readable: Sequence[str]) -> None:
    """Applies the profile to this process for good. Raises `OSError`."""
    library = ctypes.CDLL("/usr/lib/libSystem.dylib")
    reason = ctypes.c_char_p()
    if library.sandbox_init(profile(readable).encode(), ctypes.c_uint64(0), ctypes.byref(reason)):
        raise OSError(f"the system's sandbox was refused: {(reason.value or b'').decode('utf-8', 'replace')}")


def _quoted(path: str) -> str:
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
