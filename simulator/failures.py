"""The refusals of both APIs, as exceptions that know their own JSON."""

from __future__ import annotations

import math
from typing import Any

JsonObject = dict[str, Any]

LINQ_MESSAGES: dict[int, tuple[int, str]] = {
    1001: (400, "A required field is missing"),
    1002: (400, "Invalid path or parameter"),
    1003: (400, "The request body is not valid JSON of the expected shape"),
    1005: (400, "A parameter has an invalid value"),
    1007: (429, "Rate limited"),
    2001: (404, "Resource not found"),
    2004: (401, "The token is missing, wrong or expired"),
    2005: (403, "No access to this resource"),
    2006: (403, "The phone number does not belong to this account"),
    2008: (403, "The recipient is not allowed; they must write first"),
    2009: (409, "The chat is still being created"),
    2010: (404, "Webhook subscription not found"),
    2011: (403, "Location features are not available for your account"),
    2013: (409, "The chat is not available"),
    2015: (409, "The resource's state does not allow this now"),
    2016: (409, "Location requests are not supported in group chats"),
    2017: (409, "Location requests require an iMessage chat"),
    2024: (403, "The recipient has opted out"),
    2026: (403, "The recipient is blocked"),
    2027: (403, "The line is not eligible for new activity"),
    3001: (500, "Server connection failed"),
    3003: (500, "A dependent service failed"),
    3005: (504, "Network timeout"),
    3006: (500, "Internal error"),
    4001: (500, "Delivery failed"),
    4002: (500, "The sending line is not available"),
    4004: (503, "Service unavailable"),
}
"""HTTP status and our own text by code (docs/reference/linq.md, Errors)."""

CHERT_MESSAGES: dict[int, tuple[int, bool, str]] = {
    1001: (400, False, "A required field is missing"),
    1002: (400, False, "A field has an invalid value"),
    1003: (400, False, "The phone number must be E.164"),
    1004: (400, False, "The body is not JSON"),
    1007: (429, True, "Rate limited"),
    2001: (404, False, "Tenant not found"),
    2002: (404, False, "Chat not found"),
    2004: (401, False, "The token is wrong"),
    2005: (403, False, "The tenant is suspended"),
    2006: (400, False, "The phone line does not belong to this tenant"),
    2007: (403, False, "The account's e-mail address is not verified"),
    2008: (402, False, "Account limit reached"),
    2012: (401, False, "No credentials were sent"),
    2013: (401, False, "The timestamp is too far off"),
    3001: (500, True, "Internal error"),
    3002: (503, True, "No line is eligible right now"),
    3003: (500, False, "The delivery service is not configured"),
    3004: (502, True, "The delivery service failed"),
    4001: (502, True, "Delivery failed downstream"),
    4002: (503, True, "Every line is saturated for this recipient"),
    4099: (422, False, "Location sharing is not available on this line"),
}
"""HTTP status, whether it can be retried, and our own text by code (docs/reference/chert.md, Errors)."""


class ApiError(Exception):
    """A refusal that becomes an HTTP reply. `retry_after`: seconds, or the text of an HTTP date."""

    def __init__(
        self,
        code: int | None,
        *,
        status: int | None = None,
        message: str | None = None,
        retry_after: float | str | None = None,
        retryable: bool | None = None,
    ) -> None:
        self.code = code
        self.given_status = status
        self.given_message = message
        self.retry_after = retry_after
        self.retryable = retryable
        super().__init__(f"status {status}, code {code}")

    @property
    def header(self) -> str | None:
        """Return the `Retry-After` header: whole seconds, rounded up, or the date as given."""
        if self.retry_after is None or isinstance(self.retry_after, str):
            return self.retry_after
        return str(math.ceil(self.retry_after))

    def linq(self, trace_id: str) -> tuple[int, JsonObject]:
        """Return HTTP status and envelope (docs/reference/linq.md, Errors)."""
        default_status, default_message = LINQ_MESSAGES.get(self.code or 0, (409, "Conflict"))
        status = self.given_status or default_status
        error: JsonObject = {"status": status, "message": self.given_message or default_message}
        if self.code is not None:
            error["code"] = self.code
            error["doc_url"] = f"https://docs.linqapp.com/error/codes/{str(self.code)[0]}xxx/{self.code}/"
        if isinstance(self.retry_after, int | float) and status == 429:
            error["retry_after"] = math.ceil(self.retry_after)
        return status, {"success": False, "error": error, "trace_id": trace_id}

    def chert(self, trace_id: str) -> tuple[int, JsonObject]:
        """Return HTTP status and envelope (docs/reference/chert.md, Errors)."""
        default_status, default_retryable, default_message = CHERT_MESSAGES.get(
            self.code or 0, (500, True, "Internal error")
        )
        status = self.given_status or default_status
        error: JsonObject = {
            "status": status,
            "code": self.code,
            "message": self.given_message or default_message,
            "retryable": default_retryable if self.retryable is None else self.retryable,
        }
        if isinstance(self.retry_after, int | float):
            error["retry_after"] = math.ceil(self.retry_after)
        return status, {"success": False, "error": error, "trace_id": trace_id}
