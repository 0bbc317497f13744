"""Each call has the path and the body that AnyFast's documentation describes, and is marked as billed or free."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_anyfast.client import endpoints
from airflow_provider_anyfast.client.asset_ids import bare_asset_id
from airflow_provider_anyfast.client.endpoints import Call, Flow, Upload
from airflow_provider_anyfast.client.errors import InvalidRequestError

Given = tuple[str, str, dict[str, Any] | None, bool]

CALLS: dict[str, tuple[Call[Any], Given]] = {
    "create a group": (
        endpoints.create_asset_group("my-group"),
        ("POST", "/volc/asset/CreateAssetGroup", {"model": "volc-asset", "Name": "my-group"}, True),
    ),
    "create an image": (
        endpoints.create_asset(group_id="group-1", name="a", asset_type="Image", url="https://host/a.png"),
        (
            "POST",
            "/volc/asset/CreateAsset",
            {
                "model": "volc-asset",
                "GroupId": "group-1",
                "Name": "a",
                "AssetType": "Image",
                "URL": "https://host/a.png",
            },
            True,
        ),
    ),
    "create a video": (
        endpoints.create_asset(group_id="group-1", name="a", asset_type="Video", url="https://host/a.mp4"),
        (
            "POST",
            "/volc/asset/CreateAsset",
            {
                "model": "volc-asset-video",
                "GroupId": "group-1",
                "Name": "a",
                "AssetType": "Video",
                "URL": "https://host/a.mp4",
            },
            True,
        ),
    ),
    "create audio": (
        endpoints.create_asset(group_id="group-1", name="a", asset_type="Audio", url="https://host/a.mp3"),
        (
            "POST",
            "/volc/asset/CreateAsset",
            {
                "model": "volc-asset-audio",
                "GroupId": "group-1",
                "Name": "a",
                "AssetType": "Audio",
                "URL": "https://host/a.mp3",
            },
            True,
        ),
    ),
    "get an asset": (endpoints.get_asset("asset-1"), ("POST", "/volc/asset/GetAsset", {"Id": "asset-1"}, False)),
    "rename an asset": (
        endpoints.update_asset("asset-1", name="b"),
        ("POST", "/volc/asset/UpdateAsset", {"model": "volc-asset", "Id": "asset-1", "Name": "b"}, False),
    ),
    "rename a group": (
        endpoints.update_asset_group("group-1", name="b"),
        ("POST", "/volc/asset/UpdateAssetGroup", {"model": "volc-asset", "Id": "group-1", "Name": "b"}, False),
    ),
    "delete an asset": (
        endpoints.delete_asset("asset-1"),
        ("POST", "/volc/asset/DeleteAsset", {"model": "volc-asset", "Id": "asset-1"}, False),
    ),
    "delete a group": (
        endpoints.delete_asset_group("group-1"),
        ("POST", "/volc/asset/DeleteAssetGroup", {"model": "volc-asset", "Id": "group-1"}, False),
    ),
    "submit": (
        endpoints.submit_generation({"model": "seedance", "content": []}),
        ("POST", "/v1/video/generations", {"model": "seedance", "content": []}, True),
    ),
    "query": (endpoints.query_generation("asyntask_1"), ("GET", "/v1/video/generations/asyntask_1", None, False)),
    "list the models": (endpoints.list_models(), ("GET", "/v1/models", None, False)),
}


@pytest.mark.parametrize(("call", "given"), CALLS.values(), ids=CALLS.keys())
def test_a_call_matches_the_documentation(call: Call[Any], given: Given) -> None:
    assert (call.method, call.path, call.json, call.billed) == given


def test_only_a_submission_is_a_long_poll() -> None:
    assert [name for name, (call, _) in CALLS.items() if call.long_poll] == ["submit"]


def test_a_file_is_sent_with_its_type_and_without_a_url() -> None:
    upload = Upload("a.mp4", io.BytesIO(b"video"), "video/mp4")
    call = endpoints.create_asset(group_id="group-1", name="a", asset_type="Video", upload=upload)
    assert call.json == {"model": "volc-asset-video", "GroupId": "group-1", "Name": "a", "AssetType": "Video"}
    assert call.upload is upload


def test_the_repr_of_a_call_omits_its_body() -> None:
    shown = repr(endpoints.submit_generation({"model": "seedance", "content": ["data:image/png;base64,AAAA"]}))
    assert "AAAA" not in shown


@pytest.mark.parametrize(
    "spelling", ["asset-1", "asset://asset-1", "Asset://asset-1", "ASSET://asset-1", "  asset://asset-1 ", " asset-1\n"]
)
def test_an_asset_id_is_read_from_any_spelling(spelling: str) -> None:
    assert bare_asset_id(spelling) == "asset-1"
    assert endpoints.get_asset(spelling).json == {"Id": "asset-1"}
    assert (endpoints.delete_asset(spelling).json or {})["Id"] == "asset-1"
    assert (endpoints.update_asset(spelling, name="b").json or {})["Id"] == "asset-1"


@pytest.mark.parametrize("reference", ["https://host/asset-1.png", "data:image/png;base64,AAAA", ""])
def test_other_text_is_not_changed(reference: str) -> None:
    assert bare_asset_id(reference) == reference


@pytest.mark.parametrize(
    ("generation_id", "path"),
    [
        ("asyntask_1\n", "/v1/video/generations/asyntask_1"),
        (" asyntask_1", "/v1/video/generations/asyntask_1"),
        ("cgt-20260312231129-7db6s", "/v1/video/generations/cgt-20260312231129-7db6s"),
        ("a:b@c=d", "/v1/video/generations/a%3Ab%40c%3Dd"),
    ],
)
def test_a_generation_id_is_one_segment_of_the_path(generation_id: str, path: str) -> None:
    assert endpoints.query_generation(generation_id).path == path


@pytest.mark.parametrize("generation_id", ["", "  ", "a/../b", "..", "../x", "x?y=1#z", "a b", "\x00", "é", "x" * 300])
def test_an_invalid_generation_id_is_never_queried(generation_id: str) -> None:
    with pytest.raises(InvalidRequestError, match="generation_id"):
        endpoints.query_generation(generation_id)


class Library:
    """Serves a listing page by page; ``total`` is the reported total, None to omit it."""

    def __init__(self, ids: list[str], *, total: int | None = None, repeats_last: bool = False) -> None:
        self.ids = ids
        self.total = total
        self.repeats_last = repeats_last
        self.bodies: list[dict[str, Any]] = []

    def page(self, call: Call[Any]) -> Any:
        body = dict(call.json or {})
        self.bodies.append(body)
        number = body["PageNumber"]
        if self.repeats_last:
            number = min(number, max(1, -(-len(self.ids) // body["PageSize"])))
        start = (number - 1) * body["PageSize"]
        items = [{"Id": id_} for id_ in self.ids[start : start + body["PageSize"]]]
        counted = {} if self.total is None else {"TotalCount": self.total}
        return call.parse({"PageNumber": number, "Items": items, **counted})

    def read(self, flow: Flow[list[Any]], limit: int = 50) -> list[str]:
        call = next(flow)
        for _ in range(limit):
            try:
                call = flow.send(self.page(call))
            except StopIteration as finished:
                return [item.id for item in finished.value]
        pytest.fail(f"the listing requested more than {limit} pages")


@pytest.fixture(params=[endpoints.list_assets, endpoints.list_asset_groups], ids=["assets", "groups"])
def listing(request: pytest.FixtureRequest) -> Any:
    return request.param


def some_ids(count: int) -> list[str]:
    return [f"id-{number}" for number in range(count)]


@pytest.mark.parametrize(
    ("count", "total", "pages"),
    [
        (0, 0, 1),
        (0, None, 1),
        (1, 1, 1),
        (100, 100, 2),
        (100, 0, 2),
        (150, 0, 2),
        (100, None, 2),
        (101, 101, 2),
        (250, 250, 3),
        (250, None, 4),
    ],
)
def test_a_listing_reads_every_page_once(listing: Any, count: int, total: int | None, pages: int) -> None:
    library = Library(some_ids(count), total=total)
    assert library.read(listing()) == library.ids
    assert len(library.bodies) == pages
    assert [body["PageNumber"] for body in library.bodies] == list(range(1, pages + 1))
    assert {body["PageSize"] for body in library.bodies} == {100}


def test_a_total_that_counts_what_the_key_cannot_see_ends_with_the_empty_page(listing: Any) -> None:
    library = Library(some_ids(150), total=1000)
    assert library.read(listing()) == library.ids
    assert len(library.bodies) == 3


@pytest.mark.parametrize("total", [None, 1000])
def test_a_listing_ends_if_the_service_repeats_its_last_page(listing: Any, total: int | None) -> None:
    library = Library(some_ids(150), total=total, repeats_last=True)
    assert library.read(listing()) == library.ids


def test_an_item_that_moves_to_the_next_page_is_listed_once(listing: Any) -> None:
    library = Library(some_ids(150), total=150)
    flow = listing()
    first = library.page(next(flow))
    library.ids.insert(0, "id-new")
    library.total = 151
    found = library.read(_after(flow, first))
    assert sorted(found) == sorted(some_ids(150))


def _after(flow: Flow[list[Any]], first: Any) -> Flow[list[Any]]:
    """The rest of a flow after its first result."""
    call = flow.send(first)
    while True:
        result = yield call
        try:
            call = flow.send(result)
        except StopIteration as finished:
            return finished.value  # type: ignore[no-any-return]  # Flow's third type


@given(count=st.integers(0, 320), total=st.none() | st.integers(0, 400), repeats=st.booleans())
def test_a_listing_always_ends_and_never_repeats_an_item(count: int, total: int | None, repeats: bool) -> None:  # noqa: FBT001 - hypothesis names it
    library = Library(some_ids(count), total=total, repeats_last=repeats)
    found = library.read(endpoints.list_assets())
    assert len(set(found)) == len(found)
    if total is None or total >= count:
        assert found == library.ids


@pytest.mark.parametrize(
    ("given", "filters"),
    [
        ({}, {"GroupType": "AIGC"}),
        ({"name": "x"}, {"Name": "x", "GroupType": "AIGC"}),
        ({"group_ids": ("g1", "g2")}, {"GroupIds": ["g1", "g2"], "GroupType": "AIGC"}),
        ({"group_type": "LivenessFace"}, {"GroupType": "LivenessFace"}),
        ({"group_type": None}, {}),
        ({"group_type": None, "name": "", "group_ids": ()}, {}),
    ],
)
def test_a_listing_sends_the_given_filters(listing: Any, given: dict[str, Any], filters: dict[str, Any]) -> None:
    call = next(listing(**given))
    assert call.json["Filter"] == filters
    assert call.json["model"] == "volc-asset"
    assert not call.billed


def test_each_listing_has_its_own_path() -> None:
    assert next(endpoints.list_assets()).path == "/volc/asset/ListAssets"
    assert next(endpoints.list_asset_groups()).path == "/volc/asset/ListAssetGroups"
