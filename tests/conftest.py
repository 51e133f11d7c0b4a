"""What every test has: hypothesis without deadlines, since this suite also runs on machines that are busy."""

from hypothesis import settings

settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")
