"""Authentication of API clients by an access token: `Authorization: Token drt_...`."""

from django.utils import timezone
from rest_framework import authentication
from rest_framework.exceptions import AuthenticationFailed

from annotate.accounts import tokens
from annotate.models import AccessToken, User

NEW_ONE = "Get a new one with POST /api/v1/token, or on the page “Account” of the site."


class TokenAuthentication(authentication.TokenAuthentication):
    def authenticate_credentials(self, key: str) -> tuple[User, AccessToken]:
        token = tokens.find(key)
        if token is None or not token.user.is_active:
            raise AuthenticationFailed(
                f"This token is not valid. It was revoked, or ended with a new password or the account. {NEW_ONE}"
            )
        if token.expires_at < timezone.now():
            raise AuthenticationFailed(f"The token “{token.name}” expired on {token.expires_at:%Y-%m-%d}. {NEW_ONE}")
        tokens.record_use(token)
        return token.user, token
