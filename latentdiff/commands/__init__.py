"""The subcommands of `latentdiff`. Nothing heavy is imported before all that the user typed has been checked."""


class UsageError(Exception):
    """Something that the user asked for can't be done; found before any work is."""


def options_given(args, names):
    """Those of the options that the user gave, as they are written: `--mask` for the name "mask"; 0 is given, too."""
    values = {f"--{name.replace('_', '-')}": getattr(args, name) for name in names}
    return [option for option, value in values.items() if value is not None and value is not False]
