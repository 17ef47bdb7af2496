from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_workbench.client.secret_forms import forms_for_reading, forms_of_settings, forms_of_upload_url
from airflow_provider_workbench.client.settings import Settings

URL = "https://app.workbench.example/api/v1/workflows/123/steps/step-a/files"
HALVES = ("0f3a9c2e51d8b604aaaaaaaaaaaaaaaa", "2~S3multipartId_AbC.dEf-0123")


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


@pytest.mark.parametrize("plus", ["+", "%2B", "%2b"])
def test_upload_url_is_known_by_both_halves_of_its_id(plus: str) -> None:
    """However its + is written; and no more forms than these, since each costs."""
    assert forms_of_upload_url(f"https://u.example/files/{plus.join(HALVES)}") == HALVES


@pytest.mark.parametrize("plus", ["+", "%2B"])
def test_id_with_a_short_half_is_known_as_a_whole(plus: str) -> None:
    """A short one is in many a text that has nothing to do with it."""
    forms = forms_of_upload_url(f"https://u.example/files/{HALVES[0]}{plus}id")
    assert forms == (f"{HALVES[0]}+id", f"{HALVES[0]}%2Bid")


def test_id_with_other_signs_has_them_raw_and_quoted() -> None:
    forms = forms_of_upload_url(f"https://u.example/files/{HALVES[0]}==+{HALVES[1]}")
    assert forms == (f"{HALVES[0]}==", HALVES[1], f"{HALVES[0]}%3D%3D")


@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), max_size=30))
def test_no_form_is_so_short_that_it_would_mask_everything(text: str) -> None:
    forms = forms_of_upload_url(f"https://u.example/{text}")
    assert "" not in forms
    assert "/" not in forms
    assert len(set(forms)) == len(forms)
