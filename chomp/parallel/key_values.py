"""The key-value store of JAX's coordination service, which runs in process 0."""

from __future__ import annotations

from typing import Any

import jax

PREFIX = "chomp/"


class StoreLostError(Exception):
    """The store does not answer: process 0 has gone, or the connection to it."""


class KeyValues:
    """Small texts that all processes of a run see.

    Args:
        client: JAX's `DistributedRuntimeClient`.
    """

    def __init__(self, client: Any):
        self._client = client

    def set(self, key: str, text: str) -> None:
        """Set a key, or replace its text.

        Raises:
            StoreLostError: the store does not answer.
        """
        try:
            self._client.key_value_set(PREFIX + key, text, allow_overwrite=True)
        except jax.errors.JaxRuntimeError as error:
            raise StoreLostError(str(error)) from error

    def get(self, key: str, seconds: float) -> str | None:
        """The text of a key, waiting for it at most so long; None if it is not set by then.

        Raises:
            StoreLostError: the store does not answer.
        """
        try:
            return str(self._client.blocking_key_value_get(PREFIX + key, max(1, int(1000 * seconds))))
        except jax.errors.JaxRuntimeError as error:
            if str(error).startswith("DEADLINE_EXCEEDED"):
                return None
            raise StoreLostError(str(error)) from error

    def under(self, folder: str) -> dict[str, str]:
        """The keys below `folder/`, without it, and their texts.

        Raises:
            StoreLostError: the store does not answer.
        """
        try:
            found = self._client.key_value_dir_get(f"{PREFIX}{folder}")
        except jax.errors.JaxRuntimeError as error:
            raise StoreLostError(str(error)) from error
        return {key.removeprefix(f"{PREFIX}{folder}/"): text for key, text in found}

    def delete(self, key: str) -> None:
        """Remove a key, or all keys below it.

        Raises:
            StoreLostError: the store does not answer.
        """
        try:
            self._client.key_value_delete(PREFIX + key)
        except jax.errors.JaxRuntimeError as error:
            raise StoreLostError(str(error)) from error
