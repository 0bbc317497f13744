"""The account as a web page that updates itself and loads nothing from other hosts."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timezone
from html import escape
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

if TYPE_CHECKING:
    from airflow_provider_anyfast.sandbox.pages.report import AccountReport, AssetReport, GenerationReport, KeyReport

Item = TypeVar("Item")
_NEWEST = 100
_STYLE = """
:root { color-scheme: light dark; --text: #1d2330; --page: #fff; --quiet: #667; --line: #ddd;
  --good: #176b2c; --bad: #a11; --link: #0a58ca }
@media (prefers-color-scheme: dark) { :root { --text: #e4e7ee; --page: #14171f; --quiet: #9aa3b5; --line: #333a48;
  --good: #6cc784; --bad: #ff8b85; --link: #7db2ff } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem;
  color: var(--text); background: var(--page) }
a { color: var(--link) } h1 { margin-bottom: 0 } h2 { border-top: 2px solid var(--line); padding-top: 1rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0 }
tr + tr td { border-top: 1px solid var(--line) }
ul { list-style: none; padding: 0; display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)) }
li { border: 1px solid var(--line); border-radius: .5rem; padding: .8rem; overflow-wrap: anywhere }
video { width: 100%; height: 12rem; background: #181c2c; border-radius: .3rem }
img { max-width: 8rem; max-height: 8rem; border-radius: .3rem }
small, .quiet { color: var(--quiet) } .SUCCESS, .Active { color: var(--good) } .FAILURE, .Failed { color: var(--bad) }
"""
# A part is replaced only when it has changed, and never while a video is being watched.
_SCRIPT = """
const watching = () => [...document.querySelectorAll("video")].some(video => video.currentTime > 0 && !video.ended);
setInterval(async () => {
  if (document.hidden || watching()) return;
  const response = await fetch("/").catch(() => null);
  if (!response || !response.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const id of ["now", "calls", "account"]) {
    const [shown, fresh] = [document.getElementById(id), page.getElementById(id)];
    if (shown.innerHTML !== fresh.innerHTML) shown.replaceWith(document.adoptNode(fresh));
  }
}, 3000);
"""


@dataclass(frozen=True)
class Page:
    """A page, and its content security policy, which keeps scripts in prompts and names from running."""

    html: str
    policy: str


def account_page(account: AccountReport, now: float) -> Page:
    """Return the page about ``account`` at time ``now``; of each key the newest 100 assets and generations."""
    nonce = secrets.token_urlsafe(16)
    keys = "".join(_key(key) for key in account.accounts)
    calls = ", ".join(f"{call} {count}" for call, count in sorted(account.requests.by_call.items())) or "none yet"
    html = f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>AnyFast sandbox</title><style nonce="{nonce}">{_STYLE}</style></head>
<body>
<h1>AnyFast sandbox</h1>
<p class="quiet">A local AnyFast for tests: nothing here costs money. This page updates itself;
it shows <span id="now">{_time(now)}</span>.</p>
<p class="quiet"><a href="/account">JSON</a> · <a href="/sandbox/faults">faults</a> ·
<a href="/sandbox/requests">requests</a>: <span id="calls">{escape(calls)}</span></p>
<main id="account">
{keys}
</main>
<script nonce="{nonce}">{_SCRIPT}</script>
</body>
</html>
"""
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
        "img-src 'self'; media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'"
    )
    return Page(html, policy)


def _key(key: KeyReport) -> str:
    billed = key.billed
    rows = [
        ("Asset groups", billed.asset_groups),
        ("Assets", billed.assets),
        ("Generations", f"{billed.generations}, of which {billed.refunded_generations} refunded"),
        ("Tokens", f"{billed.tokens:,}"),
    ]
    names = {group.id: group.name for group in key.groups}
    groups = "".join(
        f"<tr><td>{escape(group.name)}</td><td><small>{group.id}</small></td><td>{_time(group.created_at)}</td></tr>"
        for group in key.groups
    )
    assets = "".join(_asset(asset, names) for asset in _newest(key.assets))
    generations = "".join(_generation(generation) for generation in _newest(key.generations))
    return f"""<h2>{escape(key.account)} <small>key {escape(key.key)}</small></h2>
<h3>Billed</h3><table>{"".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows)}</table>
<h3>Generations</h3><ul>{generations or "<li>none yet</li>"}</ul>
<h3>Asset groups</h3><table>{groups or "<tr><td>none yet</td></tr>"}</table>
<h3>Assets</h3><ul>{assets or "<li>none yet</li>"}</ul>
"""


def _generation(generation: GenerationReport) -> str:
    references = ", ".join(f"{item.name} ({item.role})" for item in generation.references)
    money = "refunded" if generation.refunded else "billed"
    reason = f"<br>{escape(generation.fail_reason)}" if generation.fail_reason else ""
    generation_id = escape(generation.id)
    return f"""<li id="{generation_id}">{_player(generation)}
<b class="{escape(generation.status)}">{escape(generation.status)}</b> {generation.progress}% {reason}
<p>{escape(generation.prompt)}</p>
<small>{escape(f"{generation.model}, {generation.resolution}, {generation.ratio}, {generation.duration}")} s,
seed {generation.seed}; {generation.tokens:,} tokens {money}; {_time(generation.submitted_at)}<br>
{f"References: {escape(references)}<br>" if references else ""}{generation_id}</small></li>
"""


def _player(generation: GenerationReport) -> str:
    if generation.video_url is None:
        return ""
    poster = f"/sandbox/posters/{quote(generation.id, safe='')}"
    # A relative link works under every host name of the sandbox, which the content security policy requires.
    link = urlunsplit(("", "", *urlsplit(generation.video_url)[2:]))
    return f'<video controls preload="none" poster="{poster}" src="{escape(link)}"></video>'


def _asset(asset: AssetReport, groups: dict[str, str]) -> str:
    size = f"{asset.bytes:,} bytes" if asset.bytes is not None else "stored elsewhere"
    thumbnail = f'<img loading="lazy" alt="" src="/sandbox/thumbnails/{asset.id}"><br>' if asset.has_thumbnail else ""
    return f"""<li>{thumbnail}
<b class="{asset.status}">{asset.status}</b> {escape(asset.name)}<br>
<small>{asset.asset_type}, {size}, in {escape(groups[asset.group_id])}; billed as {asset.billing_model};
{_time(asset.created_at)}<br>{asset.id}</small></li>
"""


def _newest(items: list[Item]) -> list[Item]:
    return items[: -_NEWEST - 1 : -1]


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
