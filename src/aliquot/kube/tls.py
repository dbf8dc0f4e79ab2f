"""TLS contexts from PEM text."""

import ssl
import tempfile
from pathlib import Path

from aliquot.kube.config import ConfigError, Connection
from aliquot.kube.credentials import Credential


def context_for(connection: Connection, credential: Credential) -> ssl.SSLContext:
    """What a connection trusts, and the client certificate that it shows. Raises ConfigError."""
    try:
        context = ssl.create_default_context(cadata=connection.ca)
    except ssl.SSLError as error:
        raise ConfigError(
            "kubeconfig", "certificate-authority", f"holds no usable certificate ({error.reason})"
        ) from error
    if connection.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if credential.certificate and credential.key:
        # The ssl module reads a key from files only; these live for a moment in a folder of mode 0700.
        with tempfile.TemporaryDirectory(prefix="aliquot-") as folder:
            certificate = Path(folder, "certificate.pem")
            key = Path(folder, "key.pem")
            certificate.write_text(credential.certificate)
            key.touch(mode=0o600)
            key.write_text(credential.key)
            try:
                context.load_cert_chain(certificate, key, password=_no_password)
            except ssl.SSLError as error:
                problem = f"is no certificate with its unencrypted key ({error.reason})"
                raise ConfigError("kubeconfig", "client-certificate", problem) from error
    return context


def _no_password() -> str:
    # Without this the ssl module would ask on the terminal for the password of an encrypted key.
    return ""
