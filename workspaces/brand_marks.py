"""How a provider looks: names its `brand_icon` may take, and hues its `color` may take.

They are Simple Icons slugs, kept in `static/vendor/simple-icons/sprite.svg`, which
`python -m tests.ui.refresh_vendor` writes from this list. Any other provider gets a monogram.
"""

from __future__ import annotations

_NAMES = """
42 airtable arcgis asana atlassian auth0 authentik autodesk baidu basecamp bitbucket bitly box
calendly campaignmonitor clickup coinbase confluence coursera databricks datadog deezer deviantart
digitalocean discord disqus dribbble dropbox epicgames etsy facebook feedly figma foursquare
fusionauth genius gitea gitee github gitlab gmail google googleads googleanalytics googlebigquery
googlecalendar googlechat googlecloud googlecloudstorage googledocs googledrive googleforms
googlemeet googleplay googlesearchconsole googlesheets googleslides googletasks gumroad hubspot
intercom intuit jira kakao keycloak kick lichess line linear lyft mailchimp maildotru medium meetup
meta miro mixcloud musicbrainz myob naver netlify nextcloud notion odnoklassniki okta openid
openstreetmap orcid pagerduty patreon paypal pinterest pushbullet qq quickbooks reddit roblox sentry
shopify snapchat snowflake soundcloud splunk spotify square stackexchange startdotgg strava
streamlabs stripe threads tiktok todoist trakt tumblr twitch typeform unsplash vercel vimeo vk webex
webflow wordpress x xero youtube zendesk zoho zoom
"""
BRAND_MARKS: tuple[str, ...] = tuple(_NAMES.split())

# The palette of monograms, `g-hue-…` in grantry.css; white text is readable on each.
HUES = (
    "slate", "blue", "azure", "cyan", "teal", "green", "olive",
    "amber", "orange", "red", "pink", "plum", "violet", "indigo",
)  # fmt: skip
