"""What every command does around its work: errors become one message and an exit code."""

import errno
import signal
import sys
from collections.abc import Callable

from jobs.engine.errors import WinnowError
from jobs.engine.screen import say
from operators.base import ModelMissing


def exit_code(main: Callable[[], int]) -> int:
    """Runs a command: 0 done, 1 failed, 2 usage, 3 over the error budget or nothing selected, 130/143 by a signal."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return main()
    except WinnowError as error:
        say(f"error: {error}")
        return error.exit_code
    except ModelMissing as error:
        say(f"error: {error}")
        return 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        say(f"error: {error}. Free some space or give another --store or --out; what is done is kept.")
        return 1
    except KeyboardInterrupt:
        say("stopped; what is done is kept, and the same command goes on from there")
        return 130
