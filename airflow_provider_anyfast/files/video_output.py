"""Saves a finished video to a local path or to object storage, with its last frame and a poster if there are any."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_provider_anyfast.client.errors import (
    AnyFastError,
    InvalidRequestError,
    LinkExpiredError,
)
from airflow_provider_anyfast.client.job_failures import missing_link
from airflow_provider_anyfast.client.log import subject_logger
from airflow_provider_anyfast.files.download import download
from airflow_provider_anyfast.files.images import image_problem
from airflow_provider_anyfast.files.local_file import LocalFile
from airflow_provider_anyfast.files.paths import stored_file
from airflow_provider_anyfast.media.finished import check_installed, opened_video
from airflow_provider_anyfast.seedance.result import LINK_LIFETIME
from airflow_provider_anyfast.seedance.saved import SavedVideo
from airflow_provider_anyfast.values import PLACEHOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from airflow_provider_anyfast.client.responses import Generation
    from airflow_provider_anyfast.client.transport import AnyFastClient
    from airflow_provider_anyfast.files.base import StoredFile
    from airflow_provider_anyfast.files.paths import Place
    from airflow_provider_anyfast.seedance.saved import VideoFacts

log = subject_logger(__name__)

_SOME_ID = f"asyntask_{'x' * 32}"
"""As long as AnyFast's ids."""
_IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class _Look:
    """The facts that could be read from a video, and a picture of it if one was requested."""

    facts: VideoFacts | None = None
    poster: bytes | None = None


@dataclass(frozen=True)
class VideoOutput:
    """The destination of a video.

    Args:
        output_path: local path, ``file://`` URL or any ``ObjectStoragePath``; ``{generation_id}`` is replaced.
        overwrite: False keeps a complete video that already exists, and does not download it again.
        save_poster: whether to save a picture of the video in the same folder.
    """

    output_path: Place
    overwrite: bool = True
    save_poster: bool = False

    @property
    def identity(self) -> str:
        """Equal for two spellings of one path, as the storage compares them."""
        return stored_file(self.output_path).identity

    @property
    def is_named_by_id(self) -> bool:
        """Whether each generation has its own file."""
        return PLACEHOLDER in str(self.output_path)

    def check(self) -> None:
        """Checks that the video can be written, before anything is billed.

        Raises:
            InvalidRequestError: it cannot; names the obstacle.
            StorageError: the storage does not respond.
        """
        with _as_written():
            self._target(_SOME_ID).check_writable()
        self.check_name()

    def check_poster(self) -> None:
        """Checks that a poster can be made if one is requested, before anything is billed.

        Raises:
            InvalidRequestError: names what is missing.
        """
        if self.save_poster:
            check_installed()

    def check_name(self) -> None:
        """Checks, without writing, the names of the video and its last frame in an existing folder.

        Raises:
            InvalidRequestError: a name is not possible; names the obstacle.
        """
        if str(self.output_path).endswith("/"):  # a local path loses it
            raise InvalidRequestError(f"{self.output_path} is a folder; add a file name such as {{generation_id}}.mp4.")
        with _as_written():
            video = self._target(_SOME_ID)
            video.check_name()
            _last_frame_of(video, max(_IMAGE_ENDINGS, key=len)).check_name()

    def existing_video(self) -> SavedVideo | None:
        """The complete video that makes a new one unnecessary; only a path without ``{generation_id}`` can name one."""
        if self.overwrite or self.is_named_by_id:
            return None
        target = self._target("")
        return self._saved(target) if target.is_whole_video() else None

    def save(self, client: AnyFastClient, generation: Generation, submitted_at: float | None = None) -> SavedVideo:
        """Downloads the files of a generation that has succeeded. Not billed.

        Args:
            client: client of the account that owns the generation.
            generation: AnyFast's response about it.
            submitted_at: submission time in Unix seconds, used if AnyFast does not report when the generation finished.

        Raises:
            LinkExpiredError: the link has expired, 24 hours after the end of rendering, and the video is not saved.
            DownloadError: the file did not arrive complete.
            StorageError: the files could not be stored.
        """
        rendered_at = generation.finished_at or generation.submitted_at or submitted_at
        fetch = partial(download, client.open_link, expires_at=rendered_at + LINK_LIFETIME if rendered_at else None)
        video, frame, look = self._target(generation.generation_id), None, None
        if not self.overwrite and video.is_whole_video():
            log.info("%s already exists and is complete. Keeping it.", video.path)
        else:

            def fetch_and_look(path: Path) -> _Look:
                fetch(link_of(generation), path, what=f"generation {generation.generation_id}")
                return _look(LocalFile(path).open, video.path, with_poster=self.save_poster)

            with self._kept_if(video.is_whole_video):
                look = video.write_atomically(fetch_and_look)
            log.info("Saved generation %s to %s.", generation.generation_id, video.path)
        if (link := generation.last_frame_url) is not None:
            frame = _last_frame_of(video, _ending(link))
            what = f"the last frame of generation {generation.generation_id}"
            if self.overwrite or not frame.size():
                try:
                    with self._kept_if(frame.size):
                        frame.write_atomically(lambda path: fetch(link, path, what=what, problem=image_problem))
                except LinkExpiredError as error:
                    # The video is paid for and saved: a missing frame must not fail the task.
                    log.warning("%s The video itself is saved.", error.what)
                    frame = None
        return self._saved(video, look, frame)

    def _saved(self, video: StoredFile, look: _Look | None = None, frame: StoredFile | None = None) -> SavedVideo:
        """The files of a saved video. A video from an earlier attempt may already have its poster."""
        poster, poster_path = _poster_of(video), None
        try:
            has_poster = look is None and self.save_poster and poster.size() is not None
            if look is None:
                look = _look(video.open, video.path, with_poster=self.save_poster and not has_poster)
            if look.poster is not None:
                poster.write_bytes(look.poster)
            poster_path = poster.path if has_poster or look.poster is not None else None
        except Exception as error:  # noqa: BLE001 - the video is paid for and saved
            reason = error.what if isinstance(error, AnyFastError) else error
            log.warning("Could not save a poster of %s: %s The video itself is saved.", video.path, reason)
        frame_path, facts = frame.path if frame else None, look.facts if look else None
        return SavedVideo(video.path, video.uri, frame_path, poster_path, facts)

    @contextmanager
    def _kept_if(self, is_there: Callable[[], object]) -> Iterator[None]:
        """Ignores an expired link if an earlier attempt has saved the file, which only a path with the id can show."""
        try:
            yield
        except LinkExpiredError:
            if not self.is_named_by_id or not is_there():
                raise

    def path_of(self, generation_id: str) -> str:
        """The path of a generation's saved video."""
        return self._target(generation_id).path

    def saved_before(
        self, generation_id: str, *, frame_ending: str | None, has_poster: bool, facts: VideoFacts | None
    ) -> SavedVideo:
        """The paths of a generation's files that an earlier attempt saved."""
        video = self._target(generation_id)
        frame = _last_frame_of(video, frame_ending).path if frame_ending else None
        return SavedVideo(video.path, video.uri, frame, _poster_of(video).path if has_poster else None, facts)

    def _target(self, generation_id: str) -> StoredFile:
        return stored_file(str(self.output_path).replace(PLACEHOLDER, generation_id))


@contextmanager
def _as_written() -> Iterator[None]:
    """Makes an error name the path as the user wrote it, not with the placeholder id."""
    try:
        yield
    except AnyFastError as error:
        raise type(error)(error.what.replace(_SOME_ID, PLACEHOLDER)) from error.__cause__


def link_of(generation: Generation) -> str:
    """The link to a finished video.

    Raises:
        LinkMissingError: AnyFast returned none.
    """
    if generation.video_url is None:
        raise missing_link(generation.generation_id)
    return generation.video_url


def _look(open_file: Callable[[], IO[bytes]], path: str, *, with_poster: bool) -> _Look:
    """Opens a finished video once. Facts that cannot be read are left out, since the video is paid for."""
    facts, poster = None, None
    try:
        with open_file() as file, opened_video(file) as video:
            facts = video.facts()
            poster = video.poster() if with_poster else None
    except Exception as error:  # noqa: BLE001 - whatever a library raises, the video is kept
        if with_poster or not isinstance(error, ImportError):
            log.warning("Could not inspect %s (%s). The video is kept as it is.", path, error)
    return _Look(facts, poster)


def _poster_of(video: StoredFile) -> StoredFile:
    return video.sibling(f"{PurePosixPath(video.name).stem}.poster.jpg")


def _last_frame_of(video: StoredFile, ending: str) -> StoredFile:
    return video.sibling(f"{PurePosixPath(video.name).stem}.last_frame{ending}")


def _ending(link: str) -> str:
    ending = PurePosixPath(urlsplit(link).path).suffix.lower()
    return ending if ending in _IMAGE_ENDINGS else ".png"
