"""oidc-provider-mock as its own command runs it, without its logs: ``provider_mock.py PORT``."""

import os
import sys

import uvicorn
from oidc_provider_mock import app

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
uvicorn.run(
    app(),
    interface="wsgi",
    host="127.0.0.1",
    port=int(sys.argv[1]),
    log_config=None,
    access_log=False,
)
