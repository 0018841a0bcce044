"""A Superset of one run, on its own SQLite file; not a configuration for anything else."""

import os

home = os.environ["SUPERSET_HOME"]
SECRET_KEY = os.environ["SUPERSET_RUN_SECRET"]
SQLALCHEMY_DATABASE_URI = f"sqlite:///{home}/superset.db"
# The API is called with a token, and the page is looked at without one, by this machine alone.
WTF_CSRF_ENABLED = False
TALISMAN_ENABLED = False
PUBLIC_ROLE_LIKE = None
AUTH_ROLE_PUBLIC = os.environ.get("SUPERSET_PUBLIC_ROLE")
FEATURE_FLAGS: dict[str, bool] = {}
RATELIMIT_ENABLED = False
