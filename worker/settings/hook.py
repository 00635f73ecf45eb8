"""Finds the address of the webhook that notices are posted to.

Invariant: it is a secret from here on, wherever it came from, and no part of it stands in a message.
Neighbours: `addresses` says what an address may be, `notices.webhook` posts there.
"""

from worker.core.model.secret import Secret
from worker.settings import model, secret_file, urls

_SETTING = "notify.url_file"


def address(settings: model.Settings) -> Secret | None:
    """Give the address of `notify.url`, else of the file that `notify.url_file` names, else `None`.

    Raises errors.SettingsError where the file cannot be read or holds no such address.
    """
    if settings.notify.url:
        return Secret(settings.notify.url)
    if not settings.notify.url_file:
        return None
    if "://" in settings.notify.url_file:
        message = "this is an address, and no path: write the address into a file, and its path here"
        raise secret_file.failure(_SETTING, message)
    path = settings.located(settings.notify.url_file)
    text = secret_file.read(path, where=_SETTING, what="an address", shown=str(path)).strip()
    if not text:
        raise secret_file.failure(f"{_SETTING} ({path})", "it is empty: write the address of the webhook into it")
    try:
        return Secret(urls.webhook(text))
    except ValueError as error:
        raise secret_file.failure(f"{_SETTING} ({path})", str(error)) from None
