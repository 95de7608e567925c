"""The subcommands of `latentdiff`. Nothing heavy is imported before all that the user typed has been checked."""


class UsageError(Exception):
    """Something that the user asked for can't be done; found before any work is."""
