"""Values with which every provider of the catalogue can be walked: parameters without a default, answers that tell
something. They are made up; each fits the pattern of the file that it is for.
"""

from __future__ import annotations

from typing import Any

from integrations.providers.base import CLIENT_ID, CLIENT_SECRET, MetadataSource, Parameter, ProviderSpec
from integrations.providers.catalogue import CATALOGUE_FOLDER

IDS = tuple(sorted(path.stem for path in CATALOGUE_FOLDER.glob("*.yaml")))
SANDBOX = "http://127.0.0.1:8001"

# By key, or by provider and key where a pattern wants something else.
PARAMETERS: dict[str | tuple[str, str], str] = {
    "domain": "id.example.com",
    "subdomain": "acme",
    "instance": "acme",
    "tenant": "contoso.onmicrosoft.com",
    "realm": "main",
    ("auth0", "audience"): "https://api.example.com",
    ("azure_blob_storage", "account"): "acmefiles",
    ("box_service", "subject_id"): "123456",
    ("databricks_workspace", "databricks_instance"): "acme.cloud.databricks.com",
    ("mailchimp", "dc"): "us6",
    ("vend", "domain"): "acme",
    ("workos", "organization"): "org_01ABC",
}
# By provider and the field that tells it.
TOLD: dict[tuple[str, str], tuple[str, str]] = {
    ("amo_crm", "referer"): ("acme.amocrm.com", "acme"),
    ("calendly", "organization"): ("https://api.calendly.com/organizations/ABC-1", "ABC-1"),
    ("harvest", "scope"): ("harvest:42", "42"),
    ("intuit", "realmId"): ("913", "913"),
    ("miro", "team_id"): ("307", "307"),
    ("myob", "businessId"): ("0f8fad5b-d9cb-469f-a165-70867728950e", "0f8fad5b-d9cb-469f-a165-70867728950e"),
    ("notion", "workspace_id"): ("0f8fad5b-d9cb-469f-a165-70867728950e", "0f8fad5b-d9cb-469f-a165-70867728950e"),
    ("pipedrive", "api_domain"): ("https://acme.pipedrive.com", "acme"),
    ("quickbooks", "realmId"): ("913", "913"),
    ("quickbooks_sandbox", "realmId"): ("913", "913"),
    ("sage_people", "instance_url"): ("https://acme.my.salesforce.com", "acme.my"),
    ("salesforce", "instance_url"): ("https://acme.my.salesforce.com", "acme.my"),
    ("shopify", "shop"): ("acme.myshopify.com", "acme"),
    ("slack", "team.id"): ("T0ACME", "T0ACME"),
    ("stripe", "stripe_user_id"): ("acct_1ACME", "acct_1ACME"),
    ("vend", "domain_prefix"): ("acme", "acme"),
}
ZOHO = {
    "accounts-server": ("https://accounts.zoho.eu", "eu"),
    "api_domain": ("https://www.zohoapis.eu", "https://www.zohoapis.eu"),
}


def example(spec: ProviderSpec, parameter: Parameter) -> str:
    """A value that the parameter takes. Raises KeyError for a new one: add it here."""
    if parameter.type == "dropdown":
        return parameter.default or parameter.options[0]
    if parameter.key in (CLIENT_ID, CLIENT_SECRET):
        return "example"
    if parameter.key == "tenant":
        return PARAMETERS["tenant"]  # the usual default is for people only
    if parameter.default or parameter.optional:
        return parameter.default
    return PARAMETERS.get((spec.provider_id, parameter.key)) or PARAMETERS[parameter.key]


def example_parameters(spec: ProviderSpec) -> dict[str, str]:
    return {parameter.key: example(spec, parameter) for parameter in spec.parameters}


def told(spec: ProviderSpec, field: str) -> tuple[str, str]:
    """What a provider says in a field that its file keeps, and what is kept of it."""
    return TOLD[spec.provider_id, field] if (spec.provider_id, field) in TOLD else ZOHO[field]


def example_callback(spec: ProviderSpec) -> list[tuple[str, str]]:
    return [(item.field, told(spec, item.field)[0]) for item in spec.metadata if item.source is MetadataSource.CALLBACK]


def example_answer(spec: ProviderSpec) -> dict[str, Any]:
    """The other fields of a token answer, nested where the file says so."""
    answer: dict[str, Any] = {}
    for item in spec.metadata:
        if item.source is MetadataSource.TOKEN:
            *outer, last = item.field.split(".")
            place = answer
            for name in outer:
                place = place.setdefault(name, {})
            place[last] = told(spec, item.field)[0]
    return answer


def example_metadata(spec: ProviderSpec) -> dict[str, str]:
    return {item.key: told(spec, item.field)[1] for item in spec.metadata}
