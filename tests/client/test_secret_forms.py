from __future__ import annotations

import base64
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_workbench.client.secret_forms import forms_for_reading, forms_of_settings, forms_of_upload_url
from airflow_provider_workbench.client.settings import Settings

URL = "https://app.workbench.example/api/v1/workflows/123/steps/step-a/files"
UPLOAD = "https://upload.workbench.example/files/0123abcd+s3~id_-"


def test_each_secret_of_the_connection_has_its_forms() -> None:
    extra = {"secret_link": "wAbc", "session_token": "co+okie"}
    forms = forms_of_settings(Settings.from_fields(URL, "tok/en", extra))
    for secret in ("tok/en", "wAbc", "co+okie"):
        assert secret in forms
        assert quote(secret, safe="") in forms
        assert base64.b64encode(secret.encode()).decode() in forms


def test_connection_without_optional_secrets_has_only_the_token() -> None:
    assert forms_of_settings(Settings.from_fields(URL, "token")) == ("token", "dG9rZW4=")


def test_who_only_reads_needs_no_form_of_the_token_that_only_uploads_show() -> None:
    settings = Settings.from_fields(URL, "token", {"session_token": "cookie"})
    assert forms_for_reading(settings) == ("token", "cookie", "Y29va2ll")


def test_upload_url_is_known_by_its_id() -> None:
    forms = forms_of_upload_url(UPLOAD)
    assert forms == ("0123abcd+s3~id_-", "0123abcd%2Bs3~id_-")
    assert any(form in text for text in (UPLOAD, UPLOAD.replace("+", "%2B")) for form in forms)


def test_quoted_upload_url_gives_the_raw_id_too() -> None:
    assert "0123abcd+s3" in forms_of_upload_url("https://u.example/files/0123abcd%2Bs3")


@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), max_size=30))
def test_no_form_is_so_short_that_it_would_mask_everything(text: str) -> None:
    forms = forms_of_upload_url(f"https://u.example/{text}")
    assert "" not in forms
    assert "/" not in forms
    assert len(set(forms)) == len(forms)
