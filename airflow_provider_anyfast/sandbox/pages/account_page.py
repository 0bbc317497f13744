"""The account as a web page: no script, nothing from elsewhere."""

from __future__ import annotations

from datetime import datetime, timezone
from html import escape
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_anyfast.sandbox.library.routes import asset_link

if TYPE_CHECKING:
    from airflow_provider_anyfast.sandbox.pages.report import AccountReport, AssetReport, GenerationReport, KeyReport
    from airflow_provider_anyfast.sandbox.state import Sandbox

Item = TypeVar("Item")
_NEWEST = 100
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #1d2330; }
h1 { margin-bottom: 0 } h2 { border-top: 2px solid #ddd; padding-top: 1rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0 }
tr + tr td { border-top: 1px solid #eee }
ul { list-style: none; padding: 0; display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)) }
li { border: 1px solid #ddd; border-radius: .5rem; padding: .8rem; overflow-wrap: anywhere }
video { width: 100%; max-height: 18rem; background: #181c2c } img { max-width: 6rem; max-height: 6rem }
small, .quiet { color: #667 } .SUCCESS, .Active { color: #176b2c } .FAILURE, .Failed { color: #a11 }
"""


def account_page(sandbox: Sandbox, account: AccountReport, base_url: str) -> str:
    """Return the page about ``account``; of each key the newest 100 assets and generations."""
    keys = "".join(_key(sandbox, key, base_url) for key in account.accounts)
    calls = ", ".join(f"{call} {count}" for call, count in sorted(account.requests.by_call.items())) or "none yet"
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>AnyFast sandbox</title><style>{_STYLE}</style></head>
<body>
<h1>AnyFast sandbox</h1>
<p class="quiet">A local stand-in: nothing here costs money. It is {_time(sandbox.clock.now())}; reload for news.
The same <a href="/account">as JSON</a>; <a href="/sandbox/faults">faults</a>;
<a href="/sandbox/requests">requests</a>: {escape(calls)}.</p>
{keys}
</body>
</html>
"""


def _key(sandbox: Sandbox, key: KeyReport, base_url: str) -> str:
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
    assets = "".join(_asset(asset, names, _thumbnail(sandbox, asset, base_url)) for asset in _newest(key.assets))
    generations = "".join(_generation(generation) for generation in _newest(key.generations))
    return f"""<h2>{escape(key.account)} <small>key {escape(key.key)}</small></h2>
<h3>Billed</h3><table>{"".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows)}</table>
<h3>Generations</h3><ul>{generations or "<li>none yet</li>"}</ul>
<h3>Asset groups</h3><table>{groups or "<tr><td>none yet</td></tr>"}</table>
<h3>Assets</h3><ul>{assets or "<li>none yet</li>"}</ul>
"""


def _generation(generation: GenerationReport) -> str:
    link = escape(generation.video_url or "")
    video = f'<video controls preload="none" src="{link}"></video>' if link else ""
    references = ", ".join(f"{item.name} ({item.role})" for item in generation.references)
    money = "refunded" if generation.refunded else "billed"
    reason = f"<br>{escape(generation.fail_reason)}" if generation.fail_reason else ""
    return f"""<li id="{generation.id}">{video}
<b class="{escape(generation.status)}">{escape(generation.status)}</b> {generation.progress}% {reason}
<p>{escape(generation.prompt)}</p>
<small>{escape(f"{generation.model}, {generation.resolution}, {generation.ratio}, {generation.duration}")} s,
seed {generation.seed}; {generation.tokens:,} tokens {money}; {_time(generation.submitted_at)}<br>
{f"References: {escape(references)}<br>" if references else ""}{generation.id}</small></li>
"""


def _asset(asset: AssetReport, groups: dict[str, str], thumbnail: str) -> str:
    size = f"{asset.bytes:,} bytes" if asset.bytes is not None else "elsewhere"
    return f"""<li>{thumbnail}
<b class="{asset.status}">{asset.status}</b> {escape(asset.name)}<br>
<small>{asset.asset_type}, {size}, in {escape(groups[asset.group_id])}; billed as {asset.billing_model};
{_time(asset.created_at)}<br>{asset.id}</small></li>
"""


def _thumbnail(sandbox: Sandbox, asset: AssetReport, base_url: str) -> str:
    """Return the picture of an asset whose content is here; nothing is loaded from anywhere else."""
    kept = next(key.library.assets[asset.id] for key in sandbox.keys.values() if asset.id in key.library.assets)
    link = asset_link(sandbox, kept, base_url)
    if not link or kept.file is None or asset.asset_type != "Image":
        return ""
    return f'<img loading="lazy" alt="" src="{escape(link)}"><br>'


def _newest(items: list[Item]) -> list[Item]:
    return items[: -_NEWEST - 1 : -1]


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
