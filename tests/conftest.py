"""Settings of all tests."""

from hypothesis import settings

settings.register_profile("ontogeny", deadline=None)
settings.load_profile("ontogeny")
