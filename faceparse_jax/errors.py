"""The one exception for bad input: printed as a sentence, never as a traceback."""


class InputError(Exception):
    """Bad input from the user, told as one sentence.

    Args:
        what: the file, key or value that is at fault.
        found: what is there.
        expected: what should be there.
        next_step: the next command or action that mends it.
    """

    def __init__(self, what: str, found: str, expected: str, next_step: str):
        super().__init__(f"{what}: found {found}, expected {expected}; next: {next_step}")
        self.what = what
        self.found = found
        self.expected = expected
        self.next_step = next_step
