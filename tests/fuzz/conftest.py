from hypothesis import HealthCheck, settings

FIXED = {"deadline": None, "database": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("short", max_examples=40, derandomize=True, **FIXED)
settings.register_profile("long", max_examples=5000, **FIXED)
settings.load_profile("short")
