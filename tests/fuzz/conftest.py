from hypothesis import settings

settings.register_profile("short", max_examples=40, derandomize=True, deadline=None, database=None)
settings.register_profile("long", max_examples=5000, deadline=None, database=None)
settings.load_profile("short")
