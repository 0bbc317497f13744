"""How long AnyFast takes to become consistent, each time with its evidence.

AnyFast is a gateway in front of other services, which see a new asset, group or generation one after the
other. "Not found" proves nothing within these times.
"""

from __future__ import annotations

GENERATION_APPEARS = 30.0
"""Seconds from its submission in which a generation may be unknown.

The gateway responds to a submission before it stores it (new-api, ``controller/relay.go``). The length is our guess.
"""

GENERATION_KEPT = 7 * 24 * 3600.0
"""Seconds for which AnyFast keeps a generation (docs.anyfast.ai, seedance-task-query)."""

LINK_APPEARS = 300.0
"""Seconds for which a generation may be reported as succeeded without the link to its video.

The gateway can return a success for which it has stored no link (new-api, ``model/task.go``, ``GetResultURL``). The
length is our guess.
"""

LISTS_CATCH_UP = 30.0
"""Seconds after which a new group or asset is in the lists, and a new group accepts assets.

Clients saw up to 20 s in which a new asset was not found, and one waits three times 4 s for a new group. The rest is
our margin.
"""

ASSET_IS_COPIED = 180.0
"""Seconds for which a submission is repeated while a channel of the gateway copies a referenced asset.

AnyFast returns 503 ``asset_copy_not_ready`` or 400 "asset is still processing"; clients saw two minutes.
"""

ACTIVE_ASSET_APPEARS = 180.0
"""Seconds after an asset becomes Active in which a model may still not find it.

One client submitted up to twelve times, at least 10 s apart.
"""

ACTIVE_ASSET_PAUSE = 10.0
"""Seconds between two submissions in that time; the same client's figure."""
