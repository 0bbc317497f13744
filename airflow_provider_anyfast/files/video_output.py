"""Saving a finished video to a local path or into object storage, with its last frame where there is one."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_provider_anyfast.client.errors import AnyFastError, Cost, LinkExpiredError, UnexpectedAnswerError
from airflow_provider_anyfast.client.log import subject_logger
from airflow_provider_anyfast.files.download import download
from airflow_provider_anyfast.files.images import image_problem
from airflow_provider_anyfast.files.storage import StoredFile, stored_file
from airflow_provider_anyfast.seedance.result import LINK_LIFE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_anyfast.client.responses import Generation
    from airflow_provider_anyfast.client.transport import AnyFastClient
    from airflow_provider_anyfast.files.storage import Place

log = subject_logger(__name__)

PLACEHOLDER = "{generation_id}"
_SOME_ID = f"asyntask_{'x' * 32}"
"""As long as AnyFast's ids are."""
_IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class SavedVideo:
    """Where the files of a generation are now."""

    path: str
    uri: str
    last_frame_path: str | None = None


@dataclass(frozen=True)
class VideoOutput:
    """Where a video is to go.

    Args:
        output_path: local path, ``file://`` URL or any ``ObjectStoragePath``; ``{generation_id}`` is filled in.
        overwrite: False keeps a whole video that is there already, and does not fetch it again.
    """

    output_path: Place
    overwrite: bool = True

    @property
    def identity(self) -> str:
        """The same for two spellings of one place, as the storage compares them."""
        return stored_file(self.output_path).identity

    @property
    def is_named_by_id(self) -> bool:
        """Whether each generation has a file of its own there."""
        return PLACEHOLDER in str(self.output_path)

    def check(self) -> None:
        """Finds out, before anything is billed, whether the video can go there.

        Raises:
            InvalidRequestError: naming what is in the way.
            StorageError: the storage does not answer.
        """
        with _as_written():
            self._target(_SOME_ID).check_writable()
        self.check_name()

    def check_name(self) -> None:
        """Finds out, without writing, whether a video and a last frame may be named so, in a folder that exists.

        Raises:
            InvalidRequestError: naming what is in the way.
        """
        with _as_written():
            video = self._target(_SOME_ID)
            video.check_name()
            _last_frame_of(video, max(_IMAGE_ENDINGS, key=len)).check_name()

    def existing_video(self) -> StoredFile | None:
        """The whole video that makes a new one unnecessary; only a path without ``{generation_id}`` can tell."""
        if self.overwrite or self.is_named_by_id:
            return None
        target = self._target("")
        return target if target.is_whole_video() else None

    def save(self, client: AnyFastClient, task: Generation, submitted_at: float | None = None) -> SavedVideo:
        """Fetches the files of a generation that has succeeded. Not billed.

        Args:
            client: of the account that made it.
            task: AnyFast's answer about it.
            submitted_at: Unix seconds of its submission, where AnyFast does not tell when it was finished.

        Raises:
            LinkExpiredError: the link has expired, 24 hours after the end of rendering, and the video is not there.
            DownloadError: the file did not arrive complete.
            StorageError: they could not be stored.
        """
        rendered_at = task.finished_at or task.submitted_at or submitted_at
        fetch = partial(download, client.open_link, expires_at=rendered_at + LINK_LIFE if rendered_at else None)
        video, frame = self._target(task.generation_id), None
        if not self.overwrite and video.is_whole_video():
            log.info("%s is already there and complete. It is kept.", video.path)
        else:
            what = f"generation {task.generation_id}"
            with self._kept_if(video.is_whole_video):
                video.write_atomically(lambda path: fetch(link_of(task), path, what=what))
            log.info("Saved generation %s to %s.", task.generation_id, video.path)
        if (link := task.last_frame_url) is not None:
            frame = _last_frame_of(video, _ending(link))
            what = f"the last frame of generation {task.generation_id}"
            if self.overwrite or not frame.size():
                try:
                    with self._kept_if(frame.size):
                        frame.write_atomically(lambda path: fetch(link, path, what=what, problem=image_problem))
                except LinkExpiredError as error:
                    # The video is what was paid for, and it is saved: a frame is no reason to give it up.
                    log.warning("%s The video itself is saved.", error.what)
                    frame = None
        return SavedVideo(video.path, video.uri, frame.path if frame else None)

    @contextmanager
    def _kept_if(self, is_there: Callable[[], object]) -> Iterator[None]:
        """An earlier attempt may have fetched the file and failed afterwards. Only a name with the id can tell."""
        try:
            yield
        except LinkExpiredError:
            if not self.is_named_by_id or not is_there():
                raise

    def path_of(self, generation_id: str) -> str:
        """Where the video of a generation is, once it is saved."""
        return self._target(generation_id).path

    def last_frame_path_of(self, generation_id: str, ending: str) -> str:
        """Where its last frame is, if it is an image with that ending."""
        return _last_frame_of(self._target(generation_id), ending).path

    def _target(self, generation_id: str) -> StoredFile:
        return stored_file(str(self.output_path).replace(PLACEHOLDER, generation_id))


@contextmanager
def _as_written() -> Iterator[None]:
    """Lets an error name the path as the user wrote it, and not with the id that stands in for one to come."""
    try:
        yield
    except AnyFastError as error:
        raise type(error)(error.what.replace(_SOME_ID, PLACEHOLDER)) from error.__cause__


def link_of(task: Generation) -> str:
    """The link to a finished video.

    Raises:
        UnexpectedAnswerError: AnyFast gave none.
    """
    if task.video_url is None:
        raise UnexpectedAnswerError(
            f"Generation {task.generation_id} is finished, but AnyFast's answer holds no http(s) link to it.",
            cost=Cost.PAID,
            generation_id=task.generation_id,
        )
    return task.video_url


def _last_frame_of(video: StoredFile, ending: str) -> StoredFile:
    return video.sibling(f"{PurePosixPath(video.name).stem}.last_frame{ending}")


def _ending(link: str) -> str:
    ending = PurePosixPath(urlsplit(link).path).suffix.lower()
    return ending if ending in _IMAGE_ENDINGS else ".png"
