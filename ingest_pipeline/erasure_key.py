"""The key of the hashes in ``erased``: INGEST_ERASURE_KEY, else made once and kept in ``$INGEST_HOME/erasure.key``.

Without it nobody can find out from the hashes who was erased. Whoever shares a database must share the key.
"""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from ingest_pipeline.errors import ConfigurationError

FILE = "erasure.key"
_BYTES = 32


@dataclass(frozen=True, slots=True)
class ErasureKey:
    """``given`` goes before the file at ``path``."""

    given: SecretStr | None
    path: Path

    def load(self) -> bytes | None:
        """The key; None when there is none yet. Raises ConfigurationError when the file cannot be read."""
        if self.given is not None:
            return self.given.get_secret_value().encode()
        try:
            return self.path.read_bytes().strip() or None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigurationError(f"cannot read {self.path}: {error.strerror}") from None

    def make(self) -> bytes:
        """The key, made and kept for good if there is none. Raises ConfigurationError when it cannot be kept."""
        return self.load() or self._create()

    def _create(self) -> bytes:
        # Written elsewhere and then linked: two processes never make two keys, nor does one see half of one.
        draft = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(_BYTES) + "\n")
            try:
                os.link(draft, self.path)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        except OSError as error:
            raise ConfigurationError(
                f"cannot write {self.path}: {error.strerror}; set INGEST_ERASURE_KEY instead"
            ) from None
        key = self.load()
        assert key is not None
        return key
