"""Settings from the environment, after loading a `.env` file found in the working directory or above it."""

import os

from dotenv import find_dotenv, load_dotenv

load_dotenv(find_dotenv(usecwd=True))

DATABASE_URL = os.environ.get("DATABASE_URL", "sqlite:///local.db")
SECRET_KEY = os.environ.get(
    "SECRET_KEY", "devsecret"
)  # the SDK's documented placeholder; nothing here uses it
