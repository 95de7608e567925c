from tiny_run import eagerly, folder, stage  # noqa: F401
