"""The User-Agent, with botocore's as the oracle."""

from __future__ import annotations

import pytest
from botocore.useragent import sanitize_user_agent_string_component

from aiosmrt._aws.user_agent import build_user_agent


@pytest.mark.parametrize("app_id", ["shop", "a#b", "x\r\nY: z", "a/b (c)", "\u00fc", '"[]{}@?<>='])
def test_an_application_id_is_made_fit_as_botocore_does(app_id):
    fit = sanitize_user_agent_string_component(app_id, allow_hash=True)
    assert build_user_agent("1.0", app_id=app_id).endswith(f" app/{fit}")
