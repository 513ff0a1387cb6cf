"""Signatures are those of the specification: https://github.com/standard-webhooks/standard-webhooks."""

from __future__ import annotations

import base64

import pytest

from integrations.webhooks.signing import new_secret, signature

# A vector that the specification's reference implementations test themselves with.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP = 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_known_vector() -> None:
    assert signature([SECRET], MESSAGE_ID, TIMESTAMP, BODY) == SIGNATURE


def test_the_prefix_of_a_secret_is_no_part_of_the_key() -> None:
    assert signature([SECRET.removeprefix("whsec_")], MESSAGE_ID, TIMESTAMP, BODY) == SIGNATURE


def test_two_secrets_make_two_signatures_separated_by_a_space() -> None:
    other = new_secret()
    both = signature([other, SECRET], MESSAGE_ID, TIMESTAMP, BODY)
    assert both.split(" ") == [signature([other], MESSAGE_ID, TIMESTAMP, BODY), SIGNATURE]


@pytest.mark.parametrize(
    "changed", [("msg_other", TIMESTAMP, BODY), (MESSAGE_ID, 1, BODY), (MESSAGE_ID, TIMESTAMP, b"")]
)
def test_id_time_and_body_are_all_signed(changed: tuple[str, int, bytes]) -> None:
    assert signature([SECRET], *changed) != SIGNATURE


def test_new_secrets_are_random_and_of_the_length_that_the_specification_asks_for() -> None:
    secrets = {new_secret() for _ in range(50)}
    assert len(secrets) == 50
    assert all(24 <= len(base64.b64decode(secret.removeprefix("whsec_"))) <= 64 for secret in secrets)


def test_what_is_no_secret_is_refused_without_repeating_it() -> None:
    with pytest.raises(ValueError, match="whsec_") as refused:
        signature(["whsec_not base64!"], MESSAGE_ID, TIMESTAMP, BODY)
    assert "not base64" not in str(refused.value)
