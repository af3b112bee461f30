"""The exceptions that a user is meant to see."""


class UserError(Exception):
    """A mistake or a missing thing that the user can mend.

    The message is one line: what is wrong, then what to do. The command line prints it and exits with status 2;
    it never shows a traceback for it.
    """


class CostsAPart(UserError):
    """A mistake that costs a part of a stage's work: the rest is done.

    Other tasks of the job go on with theirs, and then the job ends as for any mistake.
    """
