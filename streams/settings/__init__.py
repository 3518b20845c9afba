"""Settings: environment variables, typed once, all problems reported together.

`load_settings` takes the environment as a mapping. Whatever is wrong is listed in one
`SettingsError`, before the first byte is read or written. Secrets are `SecretStr`: they appear in
no repr, no message, no log. docs/reference/settings.md has every name.

`model` has the fields with their types, bounds and defaults, `rules` what settings must not say
together, `reading` takes them from an environment, `index_key` reads one of them.
"""

from streams.settings.model import SIGNERS, Settings, SignerName
from streams.settings.reading import load_settings, sanitised

__all__ = ["SIGNERS", "Settings", "SignerName", "load_settings", "sanitised"]
